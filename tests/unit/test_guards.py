"""Guards that only an accident shows: what stands between two instants, or between two processes."""

import io
import sqlite3
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from deployer import history
from deployer.adapters.journal import file as journal_file
from deployer.adapters.journal.file import NAME
from deployer.adapters.journal.journal import Journal
from deployer.errors import JournalError, SupersededError
from deployer.events import Warned
from deployer.failures import Failure, Kind
from deployer.names import Digest, ImageId, RunId
from deployer.planning import planned
from deployer.run import Facts, Outcome, Run, Step
from deployer.states.flow import Event, State, move
from deployer.states.imaging import local_tag
from tests.fakes.cli import TENANT, CommandLine
from tests.fakes.deployers import API, deployer, request
from tests.fakes.neighbours import REVISION, Clock, Neighbours, sha

pytestmark = pytest.mark.anyio
K, V = TypeVar("K"), TypeVar("V")


def new_run(folder: Path, run_id: str = "r1") -> Run:
    plan = planned(request(folder), REVISION, 0.0)
    return Run(id=RunId(run_id), plan=plan, state=State.BUILDING)


def stored(folder: Path) -> Run:
    return history.runs(folder, None, None, 1)[0].run


@asynccontextmanager
async def held_up(folder: Path) -> AsyncIterator[None]:
    """Let every write wait until the block ends: another process writes."""
    other = sqlite3.connect(folder / NAME, isolation_level=None)
    other.execute("begin immediate")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


class Heard(io.StringIO):
    """What was written, and whether the result counted as heard when it was."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__()
        self._state_dir = state_dir
        self.acknowledged: bool | None = None

    def write(self, text: str) -> int:
        if text.startswith("done: "):
            self.acknowledged = stored(self._state_dir).acknowledged
        return super().write(text)


def test_a_result_counts_as_heard_only_after_it_was_said(tmp_path: Path) -> None:
    cli = CommandLine(tmp_path)
    err = Heard(cli.state_dir)

    assert cli.run("deploy", "--tenant", TENANT, err=err).code == 0

    assert err.acknowledged is False
    assert stored(cli.state_dir).acknowledged


async def test_a_move_and_its_event_are_one_transaction(tmp_path: Path) -> None:
    here = Journal(tmp_path, API, Clock())
    run = await here.open_run(new_run(tmp_path))
    other = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    other.execute("insert into event values ('r1', 1, 0.0, 'entered', 'building', '{}')")
    other.close()

    with pytest.raises(JournalError):
        await here.commit(run, move(Event.BUILT, State.BUILDING), Step(Event.BUILT, Facts()), 0.0)
    await here.aclose()

    assert (stored(tmp_path).state, stored(tmp_path).seq) == (State.BUILDING, 0)


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    connection = journal_file.opened(tmp_path, create=True)
    assert connection is not None

    # In WAL mode anything less than full (2) syncs at checkpoints only.
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    assert connection.execute("pragma synchronous").fetchone() == (2,)
    connection.close()


@pytest.mark.parametrize("is_ours", [True, False])
async def test_the_write_after_a_note_waits_for_the_disk_again(
    tmp_path: Path, is_ours: bool
) -> None:
    here = Journal(tmp_path, API, Clock())
    run = await here.open_run(new_run(tmp_path))
    noted = run if is_ours else replace(run, fence=run.fence + 1)

    with nullcontext() if is_ours else pytest.raises(SupersededError):
        await here.enter(noted)

    assert here._connection is not None
    assert here._connection.execute("pragma synchronous").fetchone() == (2,)
    await here.aclose()


async def test_a_write_that_is_cancelled_while_it_waits_is_known_when_it_is_done(
    tmp_path: Path,
) -> None:
    here = Journal(tmp_path, API, Clock())
    runs = [await here.open_run(new_run(tmp_path))]

    async def write() -> None:
        runs.append(await here.enter(runs[0]))

    async with anyio.create_task_group() as group, held_up(tmp_path):
        group.start_soon(write)
        await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    await here.aclose()

    assert stored(tmp_path) == runs[-1]


async def test_a_host_that_cancels_twice_in_a_commit_finds_memory_and_disk_equal(
    tmp_path: Path,
) -> None:
    of = Neighbours(hang_in="compile")
    here = deployer(tmp_path, of)

    async def host() -> None:
        async with here:
            await here.deploy(request(tmp_path))

    import asyncio  # noqa: PLC0415, TID251  # the host's loop, not ours

    task = asyncio.ensure_future(host())
    await of.hanging.wait()
    async with held_up(tmp_path):
        task.cancel()
        await anyio.sleep(0.05)
        task.cancel()
        await anyio.sleep(0.05)
        waiting = not task.done()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert waiting
    shown = history.show(tmp_path, stored(tmp_path).id)
    assert shown is not None
    assert shown.events[-1].kind == "interrupted"


class CancelledAtTheEnd(Neighbours):
    """Cancels the deploy in the instant in which the compile ends."""

    scope: anyio.CancelScope

    async def _called(self, name: str) -> Failure | None:
        answer = await super()._called(name)
        if name == "compile":
            self.scope.cancel()
        return answer


async def test_work_that_ended_is_recorded_though_cancelled_in_the_moment(tmp_path: Path) -> None:
    of = CancelledAtTheEnd()
    async with deployer(tmp_path, of) as here:
        with anyio.CancelScope() as of.scope:
            await here.deploy(request(tmp_path))
        again = await here.resume("ten_1")

    assert again.state is State.DONE
    assert of.calls.count("compile") == 1


class SlowToAnswer(Neighbours):
    """Answers a POST 100 ms after it was carried out."""

    async def _called(self, name: str) -> Failure | None:
        answer = await super()._called(name)
        if name == "deploy":
            self.hanging.set()
            await anyio.sleep(0.1)
        return answer


async def test_an_answer_that_comes_within_the_grace_is_stored(tmp_path: Path) -> None:
    of = SlowToAnswer()
    async with deployer(tmp_path, of) as here, anyio.create_task_group() as group:
        group.start_soon(here.deploy, request(tmp_path))
        await of.hanging.wait()
        group.cancel_scope.cancel()

    record = history.runs(tmp_path, None, None, 1)[0]
    assert record.outcome is Outcome.INTERRUPTED
    assert record.run.facts.deployment is not None


class Overwritten(dict[str, Digest]):
    """A registry in which somebody else is always quicker."""

    def __setitem__(self, name: str, digest: Digest) -> None:
        super().__setitem__(name, Digest(sha(f"not {digest}")))


async def test_a_tag_that_somebody_overwrote_is_not_deployed(tmp_path: Path) -> None:
    of = Neighbours(manifests=Overwritten())
    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.TAG_OVERWRITTEN
    assert of.deployed == []


def refused_reading(kind: Kind, times: int) -> Neighbours:
    failure = Failure(phase=State.PUSHING, kind=kind, cause="not to you")
    return Neighbours(fails={"digest": deque([failure] * times)})


@pytest.mark.parametrize("kind", [Kind.REGISTRY_AUTH, Kind.REPOSITORY_DENIED])
async def test_a_login_that_may_not_read_is_warned_of(tmp_path: Path, kind: Kind) -> None:
    # After the push, and before the deploy; where it may have ended, a new login is tried, too.
    of = refused_reading(kind, 4 if kind is Kind.REGISTRY_AUTH else 2)
    async with deployer(tmp_path, of) as here, here.start(request(tmp_path)) as handle:
        warnings = [event.body async for event in handle.events if isinstance(event.body, Warned)]
        result = await handle.result()

    assert result is not None
    assert result.failure is None
    assert [each.text for each in warnings if "is unchecked there" in each.text] == [
        f"the registry lets this login not read: {what} is unchecked there"
        for what in (result.digest, result.image)
    ]


async def test_a_login_that_has_ended_does_not_leave_the_digest_unchecked(tmp_path: Path) -> None:
    of = refused_reading(Kind.REGISTRY_AUTH, 1)
    async with deployer(tmp_path, of) as here, here.start(request(tmp_path)) as handle:
        warnings = [event.body async for event in handle.events if isinstance(event.body, Warned)]
        result = await handle.result()

    assert result is not None
    assert result.failure is None
    assert not any("unchecked" in each.text for each in warnings)


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_registry_that_cannot_be_read_for_another_reason_is_a_failure(
    tmp_path: Path, earlier: int
) -> None:
    of = refused_reading(Kind.REPOSITORY_DENIED, earlier)
    failure = Failure(phase=State.PUSHING, kind=Kind.NOT_A_REGISTRY, cause="<html>")
    of.fails["digest"].append(failure)
    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.NOT_A_REGISTRY
    assert result.failure.phase is (State.DEPLOYING if earlier else State.PUSHING)
    assert of.deployed == []


class Forgetful(dict[str, ImageId]):
    """An engine that has lost each image by the time it is asked for."""

    def get(self, name: str, default: object = None) -> None:  # type: ignore[override]
        return None


async def test_a_run_that_loses_what_it_makes_again_and_again_ends(tmp_path: Path) -> None:
    of = Neighbours(images=Forgetful())
    async with deployer(tmp_path, of) as here:
        with anyio.fail_after(20):
            result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.LOOPING
    assert of.calls.count("image") < 30


def test_each_run_has_a_name_of_its_own_at_the_engine(tmp_path: Path) -> None:
    run = new_run(tmp_path)

    assert local_tag(run) != local_tag(replace(run, id=RunId("r2")))


def test_a_journal_whose_making_failed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path) -> None:
        path.write_bytes(b"half of a database")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal_file, "_fill", fill)
        with pytest.raises(JournalError):
            journal_file.opened(tmp_path, create=True)

    assert not (tmp_path / NAME).exists()
    connection = journal_file.opened(tmp_path, create=True)
    assert connection is not None
    connection.close()
