"""The journal: every run, every move, every intent, in SQLite; durable before anything follows."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from deployer.adapters.journal import file as journal_file
from deployer.adapters.journal.reader import JournalReader, lock_path
from deployer.adapters.journal.stored import encode, plain
from deployer.adapters.journal.turn import Turn
from deployer.errors import SupersededError
from deployer.events import Waiting
from deployer.failures import Failure
from deployer.names import RunId
from deployer.ports import Clock
from deployer.run import Facts, Intent, OnLock, Phase, Run, RunRecord, Settlement, Step
from deployer.states.flow import Move, is_further

T = TypeVar("T")

_INSERT: Final = """
insert into run (id, api, tenant, state, fence, seq, furthest, opened_at, updated_at, plan, facts)
values (:id, :api, :tenant, :state, :fence, 0, :furthest, :updated_at, :updated_at, :plan, :facts)
"""
_ABANDON: Final = """
update run set abandoned = 1, updated_at = :updated_at
where api = :api and tenant = :tenant and state not in ('done', 'failed') and not abandoned
"""
# Compared with what this process read or wrote last: nobody else may have written in between.
_UPDATE: Final = """
update run set state = :state, fence = :fence, seq = :seq, resumes = :resumes, furthest = :furthest,
    stalled = :stalled, updated_at = :updated_at, facts = :facts, intent = :intent, failure = :failure
where id = :id and fence = :fence_before and seq = :seq_before and state = :state_before
    and not abandoned
"""
_EVENT: Final = "insert into event (run, seq, at, kind, state, data) values (?, ?, ?, ?, ?, ?)"


class Journal:
    """The journal of one Management API; see `deployer.ports.Journal` for what each method promises.

    One connection, used in worker threads one call at a time: SQLite's calls block, and the
    default limiter of 40 threads belongs to the host program.
    """

    def __init__(self, state_dir: Path, api: str, clock: Clock) -> None:
        self._state_dir = state_dir
        self._api = api
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._one_at_a_time = anyio.CapacityLimiter(1)

    @asynccontextmanager
    async def hold(
        self,
        tenant: str,
        on_lock: OnLock = OnLock.FAIL,
        tell: Callable[[Waiting], None] = lambda _waiting: None,
    ) -> AsyncIterator[None]:
        """Be the only process that deploys this tenant; BusyError says who is."""
        await self._call(self._reader)  # makes the folder
        # SQLite opens what can only be read, and fails at the first write: after the preflight.
        await self._call(journal_file.check_place, self._state_dir)
        since = datetime.fromtimestamp(self._clock.wall(), UTC)
        note = f"process {os.getpid()}, since {since:%Y-%m-%d %H:%M:%S} UTC"
        turn = Turn(
            tenant=tenant,
            lock=lock_path(self._state_dir, self._api, tenant),
            note=note,
            on_lock=on_lock,
            clock=self._clock,
            tell=tell,
        )
        async with AsyncExitStack() as stack:
            with journal_file.translated(self._state_dir):
                await stack.enter_async_context(turn.held())
            yield

    async def check(self) -> None:
        """Raise JournalError where no run could be stored; nothing is made."""
        await self._look(lambda _reader: None, None)
        await self._call(journal_file.check_place, self._state_dir)

    async def open_run(self, run: Run) -> Run:
        """Store a new run; an interrupted one of the tenant is abandoned with the same commit."""
        return await self._call(self._open_run, run)

    async def open_of(self, tenant: str) -> Run | None:
        """The tenant's run that is neither done, failed nor abandoned."""
        condition = "state not in ('done', 'failed') and not abandoned"
        return await self._look(lambda reader: reader.newest(tenant, condition), None)

    async def latest(self, tenant: str) -> Run | None:
        """The tenant's newest run."""
        return await self._look(lambda reader: reader.newest(tenant), None)

    async def tags(self, tenant: str) -> frozenset[str]:
        """The tags of all runs of the tenant."""
        return await self._look(lambda reader: reader.tags(tenant), frozenset())

    async def run(self, run_id: RunId) -> Run | None:
        """The run with this id."""
        return await self._look(lambda reader: reader.run(run_id), None)

    async def history(self, tenant: str | None, limit: int) -> tuple[RunRecord, ...]:
        """The newest runs first."""
        return await self._look(lambda reader: reader.records(tenant, limit), ())

    async def phases(self, run_id: RunId) -> tuple[Phase, ...]:
        """How long each working state of a run took."""
        return await self._look(lambda reader: reader.phases(run_id), ())

    async def take_over(self, run: Run) -> Run:
        """Raise the fence: whoever held the run before can write no more."""
        taken = replace(run, fence=run.fence + 1, resumes=run.resumes + 1, stalled=run.stalled + 1)
        data = {"resumes": taken.resumes, "process": os.getpid()}
        return await self._call(self._write, run, taken, "resumed", data)

    async def commit(self, run: Run, move: Move, step: Step | Failure, seconds: float) -> Run:
        """Store a move with what it leaves."""
        failure = step if isinstance(step, Failure) else None
        facts = run.facts if isinstance(step, Failure) else step.facts
        moved = replace(run, state=move.dest, facts=facts, failure=failure)
        if is_further(move.dest, run.furthest):
            moved = replace(moved, furthest=move.dest, stalled=0)
        data = {"event": move.event, "to": move.dest, "seconds": seconds, "left": plain(step)}
        return await self._call(self._write, run, moved, "moved", data)

    async def enter(self, run: Run) -> Run:
        """Note that the work of the run's state begins."""
        return await self._call(self._note, run, "entered")

    async def intend(self, run: Run, intent: Intent) -> Run:
        """Store that a POST is about to be sent."""
        intending = replace(run, intent=intent)
        return await self._call(self._write, run, intending, "intent", plain(intent))

    async def answered(self, run: Run, facts: Facts) -> Run:
        """Store what a definite answer leaves; the intent is closed."""
        answered = replace(run, intent=None, facts=facts)
        return await self._call(self._write, run, answered, "answered", plain(facts))

    async def settled(self, run: Run, facts: Facts, settlement: Settlement) -> Run:
        """Store what a person says of the open intent, and close it."""
        # What it waited for was a person, and came.
        settled = replace(run, intent=None, facts=facts, stalled=0)
        data = {"as": settlement, "process": os.getpid()}
        return await self._call(self._write, run, settled, "settled", data)

    async def interrupted(self, run: Run, seconds: float) -> Run:
        """Note that the run was cancelled in its state."""
        return await self._call(self._write, run, run, "interrupted", {"seconds": seconds})

    async def acknowledge(self, run_id: RunId) -> None:
        """Note that somebody heard the result."""
        await self._call(self._acknowledge, run_id)

    async def aclose(self) -> None:
        """Close the database."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close, limiter=self._one_at_a_time)

    async def _look(self, question: Callable[[JournalReader], T], absent: T) -> T:
        """What the journal says; `absent` where there is none, and none is made by looking."""

        def look() -> T:
            self._open(create=False)
            return absent if self._connection is None else question(self._reader())

        return await self._call(look)

    async def _call(self, function: Callable[..., T], *values: Any) -> T:
        # Shielded: cut between SQLite's commit and our knowing of it, memory and disk would differ.
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(
                lambda: function(*values), limiter=self._one_at_a_time
            )
        return result  # noqa: RET504  # mypy cannot know that this scope swallows nothing

    # What follows runs in the worker thread.

    def _reader(self) -> JournalReader:
        self._open(create=True)
        assert self._connection is not None  # noqa: S101  # created where it was absent
        return JournalReader(self._state_dir, self._api, self._connection)

    def _open(self, *, create: bool) -> None:
        if self._connection is None:
            self._connection = journal_file.opened(self._state_dir, create=create)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._reader().connection
        with journal_file.translated(self._state_dir / journal_file.NAME):
            # IMMEDIATE: a deferred transaction that turns into a writer fails at once when another
            # process wrote meanwhile, whatever the timeout.
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def _open_run(self, run: Run) -> Run:
        now = self._clock.wall()
        opened = replace(run, opened_at=now, updated_at=now)
        values = _row(opened) | {
            "api": self._api,
            "tenant": run.plan.request.tenant,
            "plan": encode(run.plan),
        }
        with self._transaction() as connection:
            connection.execute(_ABANDON, values)
            connection.execute(_INSERT, values)
            _insert_event(connection, opened, "opened", {"process": os.getpid()})
        return opened

    def _write(self, before: Run, after: Run, kind: str, data: Mapping[str, Any]) -> Run:
        """One event, and the run as it is after it."""
        written = replace(after, seq=before.seq + 1, updated_at=self._clock.wall())
        compared = {
            "fence_before": before.fence,
            "seq_before": before.seq,
            "state_before": before.state,
        }
        with self._transaction() as connection:
            changed = connection.execute(_UPDATE, _row(written) | compared)
            if changed.rowcount != 1:
                raise SupersededError(f"run {before.id} was taken over by another process")
            _insert_event(connection, replace(written, state=before.state), kind, data)
        return written

    def _note(self, run: Run, kind: str) -> Run:
        """One event that nothing is decided by: five times a run the disk is not waited for."""
        with journal_file.unhurried(self._reader().connection):
            return self._write(run, run, kind, {})

    def _acknowledge(self, run_id: RunId) -> None:
        with self._transaction() as connection:
            connection.execute("update run set acknowledged = 1 where id = ?", (run_id,))


def _row(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "state": run.state,
        "fence": run.fence,
        "seq": run.seq,
        "resumes": run.resumes,
        "furthest": run.furthest,
        "stalled": run.stalled,
        "updated_at": run.updated_at,
        "facts": encode(run.facts),
        "intent": encode(run.intent) if run.intent else None,
        "failure": encode(run.failure) if run.failure else None,
    }


def _insert_event(
    connection: sqlite3.Connection, run: Run, kind: str, data: Mapping[str, Any]
) -> None:
    values = (run.id, run.seq, run.updated_at, kind, run.state, encode(data))
    connection.execute(_EVENT, values)
