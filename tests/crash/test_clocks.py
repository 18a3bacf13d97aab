"""Clocks that jump by a day, in a run and between a kill and its resume."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import anyio
import pytest

from deployer.adapters.journal.file import NAME
from deployer.states.flow import State
from tests.crash.bench import Bench, until
from tests.crash.check import check, executed
from tests.crash.machine import NOTICED, WallClock, monotonic_shifted, wall_clock
from tests.crash.places import PLACES, hanging
from tests.crash.site import Site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
DAY: Final = 86_400.0
WINDOW: Final = 3.0  # seconds
# The API token is good for a day: nothing may jump to behind its end.
JUMPS: Final = {"forward": (-DAY, 0.0), "back": (0.0, -DAY)}


@pytest.fixture
async def clock(bench: Bench) -> AsyncIterator[WallClock]:
    """The wall clock of the bench's tools."""
    async with wall_clock(bench.folder) as made:
        bench.environment |= made.environment
        yield made


def jumps(first: str, second: str, *, quick: State | None = None) -> pytest.MarkDecorator:
    """Each state, by turns with these two."""
    cases = [(state, (first, second)[number % 2]) for number, state in enumerate(PLACES)]
    return pytest.mark.parametrize(
        ("state", "jump"),
        [
            pytest.param(state, jump, marks=[] if state is quick else [pytest.mark.long])
            for state, jump in cases
        ],
    )


@jumps("forward", "back", quick=State.PUSHING)
async def test_a_run_takes_no_notice_of_a_wall_clock_that_is_set(
    bench: Bench, clock: WallClock, state: State, jump: str, seen: Callable[[str], None]
) -> None:
    before, after = JUMPS[jump]
    clock.set(before)
    child = await hanging(bench, PLACES[state], 2.5 * NOTICED)

    clock.set(after)
    bench.site.pauses.clear()
    ended = await child.within(10 * WINDOW)

    assert ended is not None
    assert check(bench, ended, clock_was_set=True) == []
    assert len(executed(bench)) == 1
    assert is_set(bench, after - before)
    assert all(0 <= phase.seconds < 10 for phase in bench.records()[0].phases)
    seen("T11")


@jumps("back", "forward")
async def test_a_resume_takes_no_notice_of_a_wall_clock_that_was_set_since_the_kill(
    bench: Bench, clock: WallClock, state: State, jump: str
) -> None:
    before, after = JUMPS[jump]
    clock.set(before)
    child = await hanging(bench, PLACES[state])
    await child.kill()
    bench.site.pauses.clear()

    clock.set(after)
    ended = await bench.run("resume")

    assert check(bench, ended, clock_was_set=True) == []
    assert len(executed(bench)) == 1
    assert is_set(bench, after - before)


@pytest.mark.long
async def test_a_result_that_nobody_heard_is_reported_though_the_clock_was_set_back(
    bench: Bench, clock: WallClock
) -> None:
    await bench.run("deploy")
    with closing(sqlite3.connect(bench.state_dir / NAME)) as journal:  # killed on its last line
        journal.execute("update run set acknowledged = 0")
        journal.commit()

    clock.set(-DAY)
    ended = await bench.run("deploy")

    assert check(bench, ended, clock_was_set=True) == []
    assert len(executed(bench)) == 1


@dataclass
class Posts:
    """When the server was asked to deploy, on this machine's own monotonic clock."""

    site: Site
    at: list[float] = field(default_factory=list)

    async def heard(self) -> None:
        self.at.append(anyio.current_time())
        self.site.script.before["deploy"] = self.heard


async def without_keys(bench: Bench) -> Posts:
    """A server that took no notice of a first POST, and will of the next."""
    (bench.project / "deployer.toml").write_text(
        f'version = 1\n[deploy]\nsettle = "{WINDOW:.0f}s"\n'
    )
    # Only who runs an image can name it; the library of the wall clock has no part in this.
    await bench.run("deploy", environment={"LD_PRELOAD": ""})
    bench.site.faults.switch_on("ignore-keys")
    bench.site.faults.switch_on("deploy-refused-before", 1)
    posts = Posts(bench.site)
    bench.site.script.before["deploy"] = posts.heard
    return posts


@pytest.mark.long
@pytest.mark.parametrize("jump", [pytest.param(DAY, id="forward"), pytest.param(-DAY, id="back")])
async def test_the_settle_window_is_not_counted_on_the_wall_clock(
    bench: Bench, clock: WallClock, jump: float
) -> None:
    clock.set(min(0, -jump))
    posts = await without_keys(bench)
    child = await bench.start("deploy", "--new")
    assert await until(lambda: bool(posts.at), 30)

    await anyio.sleep(0.5)
    clock.set(min(0, jump))
    ended = await child.within(20 * WINDOW)

    assert ended is not None
    assert check(bench, ended, clock_was_set=True) == []
    assert len(executed(bench)) == 2
    assert WINDOW <= posts.at[1] - posts.at[0] < 10 * WINDOW


@pytest.mark.parametrize(
    "shift", [pytest.param(DAY, id="day-older"), pytest.param(-200.0, id="just-booted")]
)
@pytest.mark.long
async def test_the_settle_window_of_a_resume_is_counted_in_full_on_another_monotonic_clock(
    bench: Bench, shift: float
) -> None:
    posts = await without_keys(bench)
    child = await bench.start("deploy", "--new")
    assert await until(lambda: bool(posts.at), 30)
    await child.kill()
    bench.prefix = monotonic_shifted(shift)

    began = anyio.current_time()
    ended = await bench.run("resume")

    assert check(bench, ended) == []
    assert len(executed(bench)) == 2
    assert posts.at[1] - began >= WINDOW


def is_set(bench: Bench, seconds: float) -> bool:
    """Whether the bench's newest run has lived through such a jump, as its own history tells."""
    with closing(sqlite3.connect(bench.state_dir / NAME)) as journal:
        times = [at for (at,) in journal.execute("select at from event order by run, seq")]
    return bool(abs(times[-1] - times[0] - seconds) < 60)
