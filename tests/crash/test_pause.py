"""A process that stands still for longer than each of its deadlines, as behind a closed lid."""

import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import anyio
import pytest

from deployer.adapters.clock import SystemClock
from deployer.adapters.journal.journal import Journal
from deployer.failures import ExitCode
from deployer.run import Outcome, Run
from deployer.states.flow import State
from tests.crash import hasty
from tests.crash.bench import Bench, Child
from tests.crash.check import check, executed
from tests.crash.places import PLACES, each_state, hanging
from tests.crash.site import Site, stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
WORK: Final = 0.8 * hasty.SECONDS  # ends in time, and nobody is awake to hear it
PAUSE: Final = 2.5 * hasty.SECONDS
WHOLE: Final = 60.0  # seconds of the longest retries


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with stand_in_site(tmp_path / "site") as running:
        yield running


@pytest.fixture
async def bench(site: Site, tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "bench", site)
    await made.furnish()
    return made


def stop(child: Child) -> None:
    child.process.send_signal(signal.SIGSTOP)


def go_on(child: Child) -> None:
    child.process.send_signal(signal.SIGCONT)


# The engine's silence is tried again after 5 s, and a push that stalled after 10 s.


@each_state(slow=(State.IMAGING, State.PUSHING))
async def test_a_pause_beyond_every_deadline_ends_in_done(
    bench: Bench, state: State, seen: Callable[[str], None]
) -> None:
    bench.module = "tests.crash.hasty"
    child = await hanging(bench, PLACES[state], WORK)

    stop(child)
    await anyio.sleep(PAUSE)
    bench.site.pauses.clear()
    go_on(child)
    ended = await child.within(WHOLE)

    assert ended is not None
    assert ended.code == ExitCode.DONE, ended.err
    assert check(bench, ended) == []
    assert len(executed(bench)) == 1
    assert bench.built() == 1
    assert await bench.leftovers() == []
    seen("T12")


@each_state(slow=(State.IMAGING, State.AUTHENTICATING, State.PUSHING))
async def test_beside_one_that_stands_still_a_second_is_refused_by_its_process_id(
    bench: Bench, state: State
) -> None:
    child = await hanging(bench, PLACES[state])
    stop(child)

    refused = await bench.run("resume")
    outcome = bench.records()[0].outcome
    bench.site.pauses.clear()
    go_on(child)
    ended = await child.kill(signal.SIGTERM)

    assert refused.code == ExitCode.BUSY
    assert f"process {child.process.pid}, since 20" in refused.err
    assert outcome is Outcome.RUNNING
    assert bench.records()[0].run.state is state, ended.err
    assert check(bench, await bench.run("resume")) == []
    assert len(executed(bench)) == 1


@each_state(slow=(State.IMAGING, State.AUTHENTICATING, State.PUSHING))
async def test_one_that_was_replaced_while_it_stood_still_stops_at_its_next_write(
    bench: Bench, state: State
) -> None:
    child = await hanging(bench, PLACES[state], 1.0)
    stop(child)
    taken = await taken_over(bench)
    await anyio.sleep(1.0)
    bench.site.pauses.clear()

    go_on(child)
    ended = await child.within(WHOLE)

    assert ended is not None
    assert ended.code == ExitCode.SUPERSEDED
    assert f"run {taken.id} was taken over by another process" in ended.err
    assert bench.newest() == taken  # not one word of it was written
    assert len(executed(bench)) == (state is State.DEPLOYING)
    assert await bench.leftovers() == []
    assert check(bench, await bench.run("resume")) == []
    assert len(executed(bench)) == 1


async def taken_over(bench: Bench) -> Run:
    """The bench's run as another process has it, which cannot see the lock."""
    journal = Journal(bench.state_dir, bench.site.api_url, SystemClock())
    try:
        run = await journal.latest(bench.tenant.id)
        assert run is not None
        return await journal.take_over(run)
    finally:
        await journal.aclose()
