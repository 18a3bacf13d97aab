"""Carries one run in an event loop: the signals, the display, and what is said at the end."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from deployer import history
from deployer.cli import logs, report
from deployer.cli.closing import close
from deployer.cli.display import Display, display_for
from deployer.cli.interrupts import interrupted_code, kept_handlers, watched
from deployer.cli.program import Deploys, Invocation
from deployer.cli.report import Report
from deployer.cli.scrubbing import scrubber
from deployer.errors import BusyError, JournalError, SupersededError
from deployer.events import Event
from deployer.names import RunId
from deployer.run import RunRecord
from deployer.settings.values import Settings

if TYPE_CHECKING:
    from deployer.result import DeployResult

OnEvent = Callable[[Event], None]
Work = Callable[[Deploys, OnEvent], Awaitable["DeployResult"]]


@dataclass(slots=True)
class Carriage:
    """One run in this process: what it needs, and what was heard of it so far."""

    cli: Invocation
    settings: Settings
    tenant: str
    work: Work
    display: Display
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    signal: int = 0  # the first that came; 0: none
    run: RunId | None = None
    code: int | None = None  # the exit code that was said

    def on_event(self, event: Event) -> None:
        """Hear of the run."""
        self.run = event.run or self.run
        self.display.event(event)


def carry(cli: Invocation, settings: Settings, tenant: str, work: Work) -> int:
    """Carry `work` to its end, show how it ended and return the exit code."""
    logs.quiet_libraries()
    with kept_handlers():
        return anyio.run(_carry, cli, settings, tenant, work)


async def _carry(cli: Invocation, settings: Settings, tenant: str, work: Work) -> int:
    carriage = Carriage(cli, settings, tenant, work, display_for(cli))
    # Outside of what a signal cancels: during the clean-up the second signal must still be heard.
    with anyio.open_signal_receiver(*watched()) as signals:
        async with anyio.create_task_group() as beside:
            beside.start_soon(_listen, carriage, signals)
            beside.start_soon(_tick, carriage)
            try:
                code = await _end(carriage)
            finally:
                carriage.display.close()
            # From here: the loop's own end joins the threads of its lookups, and nothing interrupts
            # one. A name server that is silent held the process for 8 s (measured).
            cli.program.leave(code)
            beside.cancel_scope.cancel()
    return code


async def _listen(carriage: Carriage, signals: AsyncIterator[int]) -> None:
    """The first signal stops the run and waits for its clean-up; the second waits for nothing."""
    async for number in signals:
        if carriage.signal:
            carriage.display.close()
            os._exit(interrupted_code(number) if carriage.code is None else carriage.code)
        carriage.signal = number
        carriage.display.note("stopping, and cleaning up; once more to quit at once")
        carriage.scope.cancel()


async def _tick(carriage: Carriage) -> None:
    while True:
        await anyio.sleep(carriage.display.tick_seconds)
        carriage.display.tick(carriage.cli.program.wall())


async def _end(carriage: Carriage) -> int:
    program = carriage.cli.program
    logger = logs.logger(program.err, scrubber(program), carriage.cli.choices.verbose)
    try:
        async with await program.open_deployer(carriage.settings, logger) as deployer:
            ended = await _report(carriage, deployer)
            _show(carriage, ended)
            # The last thing: killed before this line, the next deploy reports the result again.
            if ended.done and ended.run and (program.out.alive or program.err.alive):
                await deployer.acknowledge(RunId(ended.run))
    except (BusyError, SupersededError, JournalError) as error:
        ended = report.of_error(error, carriage.tenant, carriage.run)
        _show(carriage, ended)
    return ended.exit_code


async def _report(carriage: Carriage, deployer: Deploys) -> Report:
    result: DeployResult | None = None
    with carriage.scope:
        result = await carriage.work(deployer, carriage.on_event)
    if result is not None:
        return report.of_result(result)
    return report.of_interruption(carriage.signal, _stored(carriage))


def _stored(carriage: Carriage) -> RunRecord | None:
    """The stopped run as the journal holds it: whether a POST is open stands nowhere else."""
    if carriage.run is None:
        return None
    return history.show(carriage.settings.state_dir, carriage.run)


def _show(carriage: Carriage, ended: Report) -> None:
    carriage.display.close()
    carriage.code = close(carriage.cli.program, ended)
