"""The journal: durable, exclusive, and honest about its own state."""

import os
import sqlite3
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from deployer import history
from deployer.adapters.journal.file import MAKING, MAKING_LOCK, NAME
from deployer.adapters.journal.journal import Journal
from deployer.adapters.journal.lock import LockedError, is_locked, locked
from deployer.errors import BusyError, JournalError, SupersededError
from deployer.failures import ExitCode, Failure, Kind, exit_code
from deployer.names import RunId
from deployer.planning import new_run_id, planned
from deployer.run import Facts, Intent, Outcome, Run, Step
from deployer.states.flow import Event, State, move
from tests.fakes.deployers import API, request
from tests.fakes.neighbours import REVISION, Clock

pytestmark = pytest.mark.anyio
NOBODY = 65534
BUILT = Step(Event.BUILT, Facts())


def journal(folder: Path) -> Journal:
    return Journal(folder, API, Clock())


def new_run(folder: Path, run_id: str = "r1") -> Run:
    plan = planned(request(folder), REVISION, 0.0)
    return Run(id=RunId(run_id), plan=plan, state=State.BUILDING)


async def test_what_was_committed_is_what_the_next_process_reads(tmp_path: Path) -> None:
    here = journal(tmp_path)
    run = await here.open_run(new_run(tmp_path))
    intent = Intent(attempt=1, key="k", image="i", previous_image=None, previous_deploy_id=None)
    run = await here.enter(run)
    run = await here.commit(run, move(Event.BUILT, State.BUILDING), BUILT, 1.5)
    run = await here.intend(run, intent)
    await here.aclose()

    there = journal(tmp_path)
    stored = await there.run(run.id)
    await there.aclose()

    assert stored == run
    assert stored.intent == intent
    shown = history.show(tmp_path, run.id)
    assert shown is not None
    assert [event.kind for event in shown.events] == ["opened", "entered", "moved", "intent"]
    assert [event.seq for event in shown.events] == [0, 1, 2, 3]
    assert shown.phases[0].seconds == 1.5


async def test_a_run_of_another_management_api_cannot_be_resumed_here(tmp_path: Path) -> None:
    here, elsewhere = journal(tmp_path), Journal(tmp_path, "https://other.example", Clock())
    run = await here.open_run(new_run(tmp_path))

    found = await elsewhere.run(run.id), await elsewhere.latest("ten_1")
    await here.aclose()
    await elsewhere.aclose()

    assert found == (None, None)


async def test_tags_are_a_tenant_s_own_and_a_damaged_plan_hides_no_other(tmp_path: Path) -> None:
    here, elsewhere = journal(tmp_path), Journal(tmp_path, "https://other.example", Clock())
    await here.open_run(new_run(tmp_path, "r1"))
    run = await here.open_run(new_run(tmp_path, "r2"))
    with sqlite3.connect(tmp_path / NAME) as other:
        other.execute("update run set plan = '{' where id = 'r1'")

    tags = [await here.tags("ten_1"), await here.tags("ten_2"), await elsewhere.tags("ten_1")]
    await here.aclose()
    await elsewhere.aclose()

    assert tags == [{run.plan.tag}, set(), set()]


async def test_a_failure_is_read_back_as_it_was(tmp_path: Path) -> None:
    here = journal(tmp_path)
    run = await here.open_run(new_run(tmp_path))
    failure = Failure(phase=State.BUILDING, kind=Kind.COMPILE_ERROR, cause="E0308", details=("a",))

    run = await here.commit(run, move(Event.FAILED, State.BUILDING), failure, 0.1)
    stored = await here.run(run.id)
    await here.aclose()

    assert stored is not None
    assert stored.failure == failure


async def test_a_process_that_was_superseded_can_write_no_more(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path)
    run = await first.open_run(new_run(tmp_path))

    taken = await second.take_over(run)

    with pytest.raises(SupersededError):
        await first.commit(run, move(Event.BUILT, State.BUILDING), BUILT, 0.0)
    await second.commit(taken, move(Event.BUILT, State.BUILDING), BUILT, 0.0)
    await first.aclose()
    await second.aclose()


async def test_the_same_move_cannot_be_committed_twice(tmp_path: Path) -> None:
    here = journal(tmp_path)
    run = await here.open_run(new_run(tmp_path))
    row = move(Event.BUILT, State.BUILDING)
    await here.commit(run, row, BUILT, 0.0)

    with pytest.raises(SupersededError):
        await here.commit(run, row, BUILT, 0.0)
    await here.aclose()


async def test_a_new_run_abandons_the_one_that_was_interrupted(tmp_path: Path) -> None:
    here = journal(tmp_path)
    old = await here.open_run(new_run(tmp_path, "r1"))
    await here.open_run(new_run(tmp_path, "r2"))

    with pytest.raises(SupersededError):
        await here.enter(old)
    outcomes = {record.run.id: record.outcome for record in await here.history(None, 9)}
    await here.aclose()

    assert outcomes == {"r1": Outcome.ABANDONED, "r2": Outcome.INTERRUPTED}


async def test_a_cancelled_write_leaves_memory_and_disk_equal(tmp_path: Path) -> None:
    here = journal(tmp_path)
    run = await here.open_run(new_run(tmp_path))
    for _ in range(20):
        with anyio.CancelScope() as scope:
            scope.cancel()
            run = await here.enter(run)
    stored = await here.run(run.id)
    await here.aclose()

    assert stored == run


async def test_a_tenant_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path)
    async with first.hold("ten_1"):
        with pytest.raises(BusyError, match=r"process [0-9]+, since 20"):
            async with second.hold("ten_1"):
                pass
        async with second.hold("ten_2"):
            pass
    async with second.hold("ten_1"):
        pass
    await first.aclose()
    await second.aclose()


def test_looking_at_a_lock_neither_takes_nor_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert not is_locked(path)
    assert not path.exists()
    with locked(path, "me"):
        assert is_locked(path)
        assert path.read_text() == "me"


def test_a_lock_ends_with_its_holder_and_its_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with locked(path, "me"):
        assert is_locked(path)
        with pytest.raises(LockedError, match="me"), locked(path, "you"):
            pass
    assert not is_locked(path)
    assert path.exists()


async def test_the_journal_is_nobody_else_s_to_read(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    here = journal(folder)
    await here.open_run(new_run(tmp_path))

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    await here.aclose()

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}
    assert f"{NAME}-wal" in modes


async def test_loose_modes_are_tightened(tmp_path: Path) -> None:
    await make(tmp_path)
    (tmp_path / NAME).chmod(0o644)

    await make(tmp_path)

    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


async def make(folder: Path) -> None:
    here = journal(folder)
    await here.acknowledge(RunId("nobody's"))  # the smallest write: a look makes no journal
    await here.aclose()
    await look(folder)


async def look(folder: Path) -> None:
    here = journal(folder)
    await here.history(None, 1)
    await here.aclose()


def give_away(folder: Path, mode: int = 0o500) -> None:
    for path in (*folder.iterdir(), folder):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o500)
    folder.chmod(mode)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"\0" * 100 + content[100:])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def text(path: Path) -> None:
    path.write_text("not a database, but long enough to have a header of 100 bytes\n" * 9)


def foreign(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("create table t (x)")
    connection.close()


def newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 99")
    connection.close()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 2] ^= 0xFF  # the type of the third page
    path.write_bytes(content)


def lose_the_log(path: Path) -> None:
    # As after kill -9: log and its index are there, and then somebody tidies up.
    connection = sqlite3.connect(path)
    connection.execute("update run set seq = seq + 1")
    connection.commit()
    kept = path.with_name(f"{NAME}-shm").read_bytes()
    connection.close()
    path.with_name(f"{NAME}-shm").write_bytes(kept)


async def test_a_log_that_was_moved_before_it_went_is_not_missed(tmp_path: Path) -> None:
    # As SQLite leaves it when it cannot remove the index.
    await make(tmp_path)
    index = tmp_path / f"{NAME}-shm"
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("create table t (x)")
    connection.execute("pragma wal_checkpoint")
    kept = index.read_bytes()
    connection.close()
    index.write_bytes(kept)

    await make(tmp_path)


def broken_plan(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("update run set plan = '{}'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (empty, Kind.STATE_CORRUPT),
        (zero_header, Kind.STATE_CORRUPT),
        (cut, Kind.STATE_CORRUPT),
        (text, Kind.STATE_CORRUPT),
        (foreign, Kind.STATE_CORRUPT),
        (newer, Kind.STATE_NEWER),
        (flip, Kind.STATE_CORRUPT),
        (lose_the_log, Kind.STATE_CORRUPT),
        (broken_plan, Kind.STATE_CORRUPT),
    ],
)
async def test_a_damaged_journal_is_refused_and_left_as_it_is(
    tmp_path: Path, damage: object, kind: Kind
) -> None:
    assert callable(damage)
    here = journal(tmp_path)
    await here.open_run(new_run(tmp_path))
    await here.aclose()
    damage(tmp_path / NAME)
    before = (tmp_path / NAME).read_bytes()

    with pytest.raises(JournalError) as caught:
        await look(tmp_path)

    assert caught.value.failure.kind is kind
    assert exit_code(caught.value.failure) == ExitCode.JOURNAL
    assert (tmp_path / NAME).read_bytes() == before


async def test_the_newest_run_is_the_last_one_though_the_clock_was_set_back(tmp_path: Path) -> None:
    clock = Clock()
    here = Journal(tmp_path, API, clock)
    await here.open_run(new_run(tmp_path, "r1"))
    clock.now -= 86_400
    await here.open_run(new_run(tmp_path, "r2"))

    newest = await here.latest("ten_1")
    ids = [record.run.id for record in await here.history("ten_1", 9)]
    await here.aclose()

    assert newest is not None
    assert newest.id == "r2"
    assert ids == ["r2", "r1"]


async def test_what_a_killed_maker_left_is_replaced(tmp_path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        (tmp_path / f"{MAKING}{suffix}").write_bytes(b"half of a database")

    await make(tmp_path)

    assert set(os.listdir(tmp_path)) == {NAME, MAKING_LOCK}  # noqa: PTH208
    assert history.runs(tmp_path, None, None, 1) == ()


async def test_makers_at_the_same_time_share_one_journal(tmp_path: Path) -> None:
    async def open_a_run(number: int) -> None:
        here = journal(tmp_path)
        run = new_run(tmp_path, f"r{number}")
        request = replace(run.plan.request, tenant=f"ten_{number}")
        await here.open_run(replace(run, plan=replace(run.plan, request=request)))
        await here.aclose()

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(open_a_run, number)

    assert len(history.runs(tmp_path, None, None, 99)) == 8


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
async def test_a_journal_that_may_not_be_written_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await make(folder)
        give_away(folder)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(JournalError) as caught:
                await make(folder)
        finally:
            os.seteuid(0)

    assert caught.value.failure.kind is Kind.STATE_FORBIDDEN


async def test_a_link_in_the_journal_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(JournalError):
        await make(tmp_path)

    assert not (tmp_path / "elsewhere").exists()


def test_reading_a_history_that_is_not_there_creates_nothing(tmp_path: Path) -> None:
    assert history.runs(tmp_path / "state", None, None, 5) == ()
    assert history.show(tmp_path / "state", "r1") is None
    assert not (tmp_path / "state").exists()


def test_run_ids_sort_by_time() -> None:
    ids = [new_run_id(now) for now in (1.0, 1_795_608_000.0, 1_795_608_000.1, 4e9)]

    assert ids == sorted(ids)
    assert {len(run_id) for run_id in ids} == {16}


async def test_a_held_run_is_running_and_a_stopped_one_interrupted(tmp_path: Path) -> None:
    here = journal(tmp_path)
    async with here.hold("ten_1"):
        run = await here.open_run(new_run(tmp_path))
        held = history.runs(tmp_path, API, "ten_1", 1)[0].outcome
    stopped = history.runs(tmp_path, API, "ten_1", 1)[0].outcome
    intent = Intent(attempt=1, key="k", image="i", previous_image=None, previous_deploy_id=None)
    await here.intend(replace(run), intent)
    asked = history.runs(tmp_path, API, "ten_1", 1)[0].outcome
    await here.aclose()

    assert (held, stopped, asked) == (Outcome.RUNNING, Outcome.INTERRUPTED, Outcome.UNKNOWN)


@pytest.mark.parametrize("place", ["file", "file/state"])
def test_a_history_where_a_file_stands_in_the_way_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(JournalError) as caught:
        history.runs(tmp_path / place, None, None, 5)

    assert caught.value.failure.kind is Kind.STATE_IO


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
@pytest.mark.parametrize("made", [True, False])
async def test_a_place_that_may_not_be_written_is_told_beforehand(*, made: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if made:
            await make(folder)
        give_away(folder)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(JournalError) as caught:
                await journal(folder).check()
        finally:
            os.seteuid(0)

    assert caught.value.failure.kind is Kind.STATE_FORBIDDEN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a while")
async def test_a_journal_that_can_only_be_read_is_refused_before_the_preflight() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await make(folder)
        give_away(folder, 0o700)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(JournalError) as caught:
                async with journal(folder).hold("ten_1"):
                    pass
        finally:
            os.seteuid(0)

    assert caught.value.failure.kind is Kind.STATE_FORBIDDEN
