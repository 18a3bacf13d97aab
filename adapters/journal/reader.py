"""Reading the journal: runs, their events, and how they stand."""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from deployer.adapters.journal import file as journal_file
from deployer.adapters.journal.lock import is_locked
from deployer.adapters.journal.stored import decode
from deployer.failures import Failure, Kind
from deployer.names import RunId
from deployer.run import Facts, Intent, Outcome, Phase, Plan, Run, RunRecord, StoredEvent
from deployer.states.flow import WORKING, State

_COLUMNS: Final = (
    "id, state, fence, seq, resumes, furthest, stalled, acknowledged, abandoned, opened_at, updated_at, "
    "plan, facts, intent, failure"
)
_TAGS: Final = """
select json_extract(plan, '$.tag') from run
where (?1 is null or api = ?1) and tenant = ?2 and json_valid(plan)
"""


def lock_path(state_dir: Path, api: str, tenant: str) -> Path:
    """The lock of one tenant at one Management API; no foreign text in the name."""
    name = hashlib.sha256(f"{api}\n{tenant}".encode()).hexdigest()[:32]
    return state_dir / f"{name}.lock"


@dataclass(slots=True)
class JournalReader:
    """Reads the journal in `state_dir`, synchronously. `api` None: of every Management API."""

    state_dir: Path
    api: str | None
    connection: sqlite3.Connection

    def run(self, run_id: str) -> Run | None:
        """The run with this id; a run of another API is nobody here."""
        row = self._rows("where id = ?1 and (?2 is null or api = ?2)", run_id, self.api)
        return next(row, None)

    def newest(self, tenant: str, condition: str = "1") -> Run | None:
        """The tenant's newest run that fits an SQL condition of ours."""
        return next(self._of_tenant(tenant, condition, 1), None)

    def tags(self, tenant: str) -> frozenset[str]:
        """The tags of all runs of the tenant whose plan can be read."""
        with journal_file.translated(self.state_dir / journal_file.NAME):
            rows = self.connection.execute(_TAGS, (self.api, tenant)).fetchall()
        return frozenset(tag for (tag,) in rows)

    def records(self, tenant: str | None, limit: int) -> tuple[RunRecord, ...]:
        """The newest runs first, each with its phases."""
        runs = tuple(self._of_tenant(tenant, "1", limit))
        return tuple(self.record(run, with_events=False) for run in runs)

    def phases(self, run_id: str) -> tuple[Phase, ...]:
        """How long each working state of a run took."""
        return phases(tuple(self._events(run_id)))

    def record(self, run: Run, *, with_events: bool) -> RunRecord:
        """A run with its phases and, if wanted, its events."""
        events = tuple(self._events(run.id))
        return RunRecord(
            run=run,
            outcome=self._outcome(run),
            phases=phases(events),
            events=events if with_events else (),
        )

    def _outcome(self, run: Run) -> Outcome:
        settled = settled_outcome(run)
        if settled is not None:
            return settled
        row = self.connection.execute("select api, tenant from run where id = ?", (run.id,))
        api, tenant = row.fetchone()
        if is_locked(lock_path(self.state_dir, api, tenant)):
            return Outcome.RUNNING
        return Outcome.UNKNOWN if run.intent else Outcome.INTERRUPTED

    def _of_tenant(self, tenant: str | None, condition: str, limit: int) -> Iterator[Run]:
        return self._rows(
            f"where (?1 is null or api = ?1) and (?2 is null or tenant = ?2) and {condition} "
            # In the order in which they were stored: a wall clock may have been set back.
            "order by rowid desc limit ?3",
            self.api,
            tenant,
            limit,
        )

    def _rows(self, clause: str, *values: object) -> Iterator[Run]:
        sql = f"select {_COLUMNS} from run {clause}"  # noqa: S608  # no foreign text in the clause
        with journal_file.translated(self.state_dir / journal_file.NAME):
            rows = self.connection.execute(sql, values).fetchall()
        return (self._run(row) for row in rows)

    def _run(self, row: tuple[Any, ...]) -> Run:
        names = _COLUMNS.split(", ")
        stored = dict(zip(names, row, strict=True))
        try:
            return Run(
                id=RunId(stored["id"]),
                plan=decode(stored["plan"], Plan),
                state=State(stored["state"]),
                facts=decode(stored["facts"], Facts),
                intent=decode(stored["intent"], Intent) if stored["intent"] else None,
                failure=decode(stored["failure"], Failure) if stored["failure"] else None,
                fence=stored["fence"],
                seq=stored["seq"],
                resumes=stored["resumes"],
                furthest=State(stored["furthest"]),
                stalled=stored["stalled"],
                acknowledged=bool(stored["acknowledged"]),
                abandoned=bool(stored["abandoned"]),
                opened_at=stored["opened_at"],
                updated_at=stored["updated_at"],
            )
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            cause = f"run {stored['id']} cannot be read: {error}"
            raise journal_file.problem(Kind.STATE_CORRUPT, cause) from error

    def _events(self, run_id: str) -> Iterator[StoredEvent]:
        sql = "select seq, at, kind, state, data from event where run = ? order by seq"
        with journal_file.translated(self.state_dir / journal_file.NAME):
            rows = self.connection.execute(sql, (run_id,)).fetchall()
        for seq, at, kind, state, data in rows:
            yield StoredEvent(
                seq=seq, at=at, kind=kind, state=State(state), data=decode(data, dict[str, Any])
            )


def settled_outcome(run: Run) -> Outcome | None:
    """The outcome of a run that no process can be carrying; None for an open one."""
    if run.state is State.DONE:
        return Outcome.SUCCEEDED
    if run.state is State.FAILED:
        return Outcome.UNKNOWN if run.intent else Outcome.FAILED
    return Outcome.ABANDONED if run.abandoned else None


def phases(events: tuple[StoredEvent, ...]) -> tuple[Phase, ...]:
    """How long each working state took, from a run's events."""
    return tuple(
        Phase(
            state=state,
            seconds=sum(row.data.get("seconds", 0.0) for row in events if row.state is state),
            entered=sum(row.kind == "entered" for row in events if row.state is state),
        )
        for state in WORKING
    )
