"""What must hold after each case, whatever was done to it: one function, a list of violations."""

import gzip
import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from deployer import history
from deployer.adapters.journal.file import NAME
from deployer.failures import Kind
from deployer.run import RunRecord
from deployer.states.flow import FINAL, MOVES, Event, State
from tests.crash.bench import DATABASE_PASSWORD, Bench, Ended

CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# gcc's own: a linker that is killed with its build cannot tidy up.
_OF_A_KILLED_LINKER: Final = re.compile(r"cc\w{6}\..*|rustc\w{6}")
_ROWS: Final = {(row.event, row.source, row.dest) for row in MOVES}


def check(
    bench: Bench, last: Ended | None = None, *, since: int = 0, clock_was_set: bool = False
) -> list[str]:
    """The violations that this bench shows; `since`: of all but its oldest runs.

    `last` is how the last process ended that was let go to its end. Where `clock_was_set`, the
    wall times of a history may run backwards; its order may not.
    """
    records = bench.records()
    records = records[: len(records) - since]
    found = [
        *_exactly_once(bench, records),
        *(each for record in records for each in _sound_history(bench, record, clock_was_set)),
        *_sound_files(bench),
        *_secrets(bench),
    ]
    if last is not None:
        found += _sound_end(records, last)
    if bench.is_locked():
        found.append("V6 the lock is held by nobody alive")
    return found


def ended_as(bench: Bench, ended: Ended, kind: Kind, code: int) -> list[str]:
    """What is wrong with how a run failed: V1 with this kind, and V12 with this exit code."""
    run = bench.newest()
    found = run.failure.kind if run and run.failure else None
    last = f"next: deployer resume {run.id if run else ''}"
    wrong = []
    if found is not kind:
        wrong.append(f"V1 failed with {found}, not with {kind}: {ended.err[-1500:]}")
    if kind.resolution not in ended.err:
        wrong.append(f"V1 says nothing like {kind.resolution!r}: {ended.err[-600:]}")
    if (ended.code, last in ended.err) != (code, True):
        wrong.append(f"V12 exit code {ended.code}, not {code}: {ended.err[-600:]}")
    return wrong


def executed(bench: Bench) -> list[dict[str, Any]]:
    """The deploys that the server has carried out for the bench's tenant."""
    if not bench.site.ledger.exists():
        return []
    rows = [json.loads(line) for line in bench.site.ledger.read_text().splitlines()]
    return [row for row in rows if row["tenant"] == bench.tenant.id]


def duplicates(bench: Bench) -> int:
    """How many deploys the server has executed beyond the first of a run."""
    per_run = Counter(_run_key(row["key"]) for row in executed(bench))
    return sum(count - 1 for count in per_run.values())


def missing(bench: Bench) -> int:
    """How many runs are done that the server has never executed."""
    seen = {_run_key(row["key"]) for row in executed(bench)}
    done = [each.run for each in bench.records() if each.run.state is State.DONE]
    return sum(run.plan.key not in seen for run in done)


def _run_key(key: str) -> str:
    """The run's own key: a retry after a failed update appends a number."""
    return key.partition("-")[0]


def _exactly_once(bench: Bench, records: tuple[RunRecord, ...]) -> Iterator[str]:
    """V1, V2, V3."""
    rows = executed(bench)
    for record in records:
        run = record.run
        mine = [row for row in rows if _run_key(row["key"]) == run.plan.key]
        if run.state is State.FAILED:
            why = f"{run.failure.id} {run.failure.cause}" if run.failure else "no failure"
            yield f"V1 run {run.id} failed: {why}"
        if len(mine) > 1:
            yield f"V2 run {run.id} was deployed {len(mine)} times"
        if run.state is State.DONE and not mine:
            yield f"V2 run {run.id} is done and was never deployed"
        if mine and mine[0]["digest"] != run.facts.digest:
            yield f"V3 run {run.id} pushed {run.facts.digest}, deployed was {mine[0]['digest']}"


def _sound_history(bench: Bench, record: RunRecord, clock_was_set: bool) -> Iterator[str]:
    """V4."""
    whole = history.show(bench.state_dir, record.run.id)
    events = whole.events if whole else ()
    if [event.seq for event in events] != list(range(len(events))):
        yield f"V4 run {record.run.id}: its events have gaps"
    if not events or events[-1].seq != record.run.seq:
        yield f"V4 run {record.run.id}: the last event is not the run's"
    if not clock_was_set and any(one.at > other.at for one, other in pairwise(events)):
        yield f"V4 run {record.run.id}: time runs backwards"
    yield from (f"V4 run {record.run.id}: {each}" for each in _sound_moves(record, events))


def _sound_moves(record: RunRecord, events: tuple[Any, ...]) -> Iterator[str]:
    at, intended = events[0].state if events else record.run.state, 0
    for event in events:
        if event.state is not at:
            yield f"event {event.seq} is in {event.state}, the run was in {at}"
        if event.kind == "moved":
            row = (Event(event.data["event"]), event.state, State(event.data["to"]))
            if row not in _ROWS:
                yield f"event {event.seq} is no legal move"
            at = row[2]
        intended += event.kind == "intent"
        if event.kind == "answered" and not intended:
            yield f"event {event.seq} is an answer to no intent"
    if at is not record.run.state:
        yield f"its events end in {at}, it stands in {record.run.state}"
    if at is State.DONE and record.run.intent is not None:
        yield "it is done with an open intent"


def _sound_files(bench: Bench) -> Iterator[str]:
    """V9."""
    journal = bench.state_dir / NAME
    if not journal.exists():
        return
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        verdict = connection.execute("pragma integrity_check").fetchone()[0]
    if verdict != "ok":
        yield f"V9 {verdict}"
    expected = re.compile(
        rf"{re.escape(NAME)}(-wal|-shm)?|journal\.lock|images|[0-9a-f]{{32}}\.(lock|queue)"
    )
    strange = [path.name for path in bench.state_dir.iterdir() if not expected.fullmatch(path.name)]
    # Empty: a temporary file takes its name away before anything is written to it.
    temporary = [path.name for path in (bench.folder / "tmp").iterdir() if path.stat().st_size]
    strange += [name for name in temporary if not _OF_A_KILLED_LINKER.fullmatch(name)]
    if strange:
        yield f"V9 left behind: {', '.join(strange)}"


def _secrets(bench: Bench) -> Iterator[str]:
    """V8 and V10, in what the journal holds and what was said lately."""
    secrets = [DATABASE_PASSWORD.encode(), *(each.encode() for each in bench.site.secrets)]
    said = [*bench.folder.glob("out.*"), *bench.folder.glob("err.*")]
    kept = (path for path in bench.state_dir.rglob("*") if path.is_file())
    for path in (*kept, *said):
        if _holds(path.read_bytes(), secrets):
            yield f"V8 a secret is in {path.name}"
    for name, content in bench.site.shelved():
        if name in bench.searched:
            continue  # by its digest: it cannot have changed
        blob = content()
        if _holds(blob, secrets) or _holds(_unpacked(blob), secrets):
            yield f"V8 a secret is at the registry, in {name}"
        else:
            bench.searched.add(name)
    for path in said:
        if CONTROLS.search(path.read_text()):
            yield f"V10 control characters in {path.name}"


def _holds(content: bytes, secrets: Iterable[bytes]) -> bool:
    return any(secret in content for secret in secrets)


def _unpacked(blob: bytes) -> bytes:
    """A layer's files; nothing of what is not packed."""
    try:
        return gzip.decompress(blob)
    except (OSError, EOFError, zlib.error):
        return b""


def _sound_end(records: tuple[RunRecord, ...], last: Ended) -> Iterator[str]:
    """V12."""
    state = records[0].run.state if records else None
    if (last.code == 0) != (state is State.DONE):
        yield f"V12 exit code {last.code}, and the run stands in {state}: {last.err[-600:]}"
    if (last.code == 0) != last.last_line.startswith("done: "):
        yield f"V12 exit code {last.code}, and the last line is {last.last_line!r}"


def is_open(record: RunRecord | None) -> bool:
    """Whether a resume has something to go on with."""
    return record is not None and record.run.state not in FINAL and not record.run.abandoned


def argv_secrets(lines: list[str], secrets: tuple[str, ...]) -> list[str]:
    """The command lines that show a secret to everybody on the machine."""
    return [line for line in lines if any(each in line for each in (*secrets, DATABASE_PASSWORD))]


def stored(path: Path) -> list[dict[str, Any]]:
    """The rows of a ledger."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
