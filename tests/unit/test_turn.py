"""Whose turn it is: fail, wait and replace, with real locks and a clock that passes in sleep."""

from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from deployer.adapters.journal.lock import locked
from deployer.adapters.journal.turn import WAIT_SECONDS, Turn
from deployer.errors import BusyError, SupersededError
from deployer.events import Waiting
from deployer.run import OnLock
from tests.fakes.neighbours import Clock

pytestmark = pytest.mark.anyio


@dataclass
class Calls(Clock):
    """A clock that calls back in its nth sleep."""

    at: dict[int, object] = field(default_factory=dict)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        call = self.at.pop(len(self.slept), None)
        if callable(call):
            call()


def turn(folder: Path, on_lock: OnLock, clock: Clock, told: list[Waiting] | None = None) -> Turn:
    tell = (told if told is not None else []).append
    path = folder / "t.lock"
    return Turn(tenant="t", lock=path, note="me", on_lock=on_lock, clock=clock, tell=tell)


async def test_a_busy_tenant_is_refused_with_its_holder_s_note(tmp_path: Path) -> None:
    clock = Clock()
    with locked(tmp_path / "t.lock", "process 7, since noon"):
        held = turn(tmp_path, OnLock.FAIL, clock).held()
        with pytest.raises(BusyError, match="process 7, since noon"):
            await held.__aenter__()

    assert sum(clock.slept) < 0.5


async def test_a_lock_that_lingers_after_a_kill_is_no_second_run(tmp_path: Path) -> None:
    lingering = locked(tmp_path / "t.lock", "process 7")
    lingering.__enter__()
    clock = Calls(at={3: lambda: lingering.__exit__(None, None, None)})

    async with turn(tmp_path, OnLock.FAIL, clock).held():
        assert (tmp_path / "t.lock").read_text() == "me"


async def test_who_waits_says_so_once_and_is_next(tmp_path: Path) -> None:
    holder, told = locked(tmp_path / "t.lock", "process 7"), list[Waiting]()
    holder.__enter__()
    clock = Calls(at={9: lambda: holder.__exit__(None, None, None)})

    async with turn(tmp_path, OnLock.WAIT, clock, told).held():
        pass

    assert [waiting.what for waiting in told] == ["another run of the tenant (process 7)"]
    assert told[0].seconds == WAIT_SECONDS


async def test_who_waits_gives_up_in_the_end(tmp_path: Path) -> None:
    clock = Clock()
    with locked(tmp_path / "t.lock", "process 7"), pytest.raises(BusyError, match="process 7"):
        async with turn(tmp_path, OnLock.WAIT, clock).held():
            pass

    assert WAIT_SECONDS <= sum(clock.slept) < WAIT_SECONDS + 1


@pytest.mark.parametrize("older", [OnLock.WAIT, OnLock.REPLACE])
async def test_the_newest_that_replaces_wins_among_those_who_wait(
    tmp_path: Path, older: OnLock
) -> None:
    outcomes: list[str] = []

    async def run(name: str, on_lock: OnLock, clock: Clock) -> None:
        try:
            async with turn(tmp_path, on_lock, clock).held():
                outcomes.append(name)
        except SupersededError:
            outcomes.append(f"{name} gave up")

    holder = locked(tmp_path / "t.lock", "process 7")
    holder.__enter__()
    async with anyio.create_task_group() as group:
        group.start_soon(run, "old", older, Clock())
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        newest = Calls(at={20: lambda: holder.__exit__(None, None, None)})
        group.start_soon(run, "new", OnLock.REPLACE, newest)

    assert outcomes == ["old gave up", "new"]


async def test_a_cancelled_wait_leaves_the_tenant_free(tmp_path: Path) -> None:
    with locked(tmp_path / "t.lock", "process 7"):
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with turn(tmp_path, OnLock.WAIT, Clock()).held():
                pass
    with locked(tmp_path / "t.lock", "process 8"):
        pass
