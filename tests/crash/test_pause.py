"""A process that stands still for longer than each of its deadlines, as behind a closed lid."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
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
from tests.crash.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
WORK: Final = 0.8 * hasty.SECONDS  # ends in time, and nobody is awake to hear it
PAUSE: Final = 2.5 * hasty.SECONDS
WHOLE: Final = 60.0  # seconds of the longest retries


def stop(child: Child) -> None:
    child.process.send_signal(signal.SIGSTOP)


def go_on(child: Child) -> None:
    child.process.send_signal(signal.SIGCONT)


# The engine's silence is tried again after 5 s, and a push that stalled after 10 s.


@each_state(slow=(State.IMAGING, State.AUTHENTICATING, State.PUSHING))
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


@each_state(slow=(State.IMAGING, State.AUTHENTICATING, State.PUSHING, State.DEPLOYING))
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


@each_state(slow=(State.BUILDING, State.IMAGING, State.AUTHENTICATING, State.PUSHING))
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


@dataclass
class Asleep:
    """Stops a tool in the moment in which it has asked for the status of its POST."""

    site: Site
    child: Child | None = None
    fell_asleep: anyio.Event = field(default_factory=anyio.Event)

    async def after_the_post(self) -> None:
        self.site.script.before["status"] = self.now

    async def now(self) -> None:
        assert self.child is not None
        stop(self.child)
        self.fell_asleep.set()


async def delivered(bench: Bench) -> None:
    """A proxy in between lets go of the POST at last."""
    run = bench.newest()
    assert run is not None
    assert run.intent is not None
    token = bench.site.environment["SYSTEMPROMPT_API_TOKEN"]
    url = f"{bench.site.api_url}/api/v1/tenants/{bench.tenant.id}/deploy"
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": run.intent.key}
    async with bench.site.session.post(
        url, json={"image": run.intent.image}, headers=headers
    ) as it:
        assert it.ok


async def test_a_look_that_is_as_old_as_the_pause_is_no_look_behind_the_settle_window(
    bench: Bench,
) -> None:
    (bench.project / "deployer.toml").write_text('version = 1\n[deploy]\nsettle = "2s"\n')
    asleep = Asleep(bench.site)
    await bench.run("deploy")  # only who runs an image can name it
    bench.site.faults.switch_on("ignore-keys")
    bench.site.faults.switch_on("deploy-refused-before", 1)
    bench.site.script.before["deploy"] = asleep.after_the_post
    asleep.child = await bench.start("deploy", "--new")
    with anyio.fail_after(20):
        await asleep.fell_asleep.wait()

    # The answer to that look says that nothing was deployed; it waits to be read.
    await anyio.sleep(2.2)
    await delivered(bench)
    go_on(asleep.child)
    ended = await asleep.child.within(WHOLE)

    assert check(bench, ended) == []
    assert len(executed(bench)) == 2


async def test_a_look_that_is_as_old_as_the_pause_is_not_the_last_one_at_a_new_image(
    bench: Bench,
) -> None:
    asleep = Asleep(bench.site)
    bench.site.faults.switch_on("status-pending-forever")
    bench.site.script.before["deploy"] = asleep.after_the_post
    asleep.child = await bench.start("deploy", "--wait-timeout", "2s")
    with anyio.fail_after(20):
        await asleep.fell_asleep.wait()

    await anyio.sleep(2.2)
    bench.site.faults.switch_off()
    go_on(asleep.child)
    ended = await asleep.child.within(WHOLE)

    assert check(bench, ended) == []
    assert len(executed(bench)) == 1
