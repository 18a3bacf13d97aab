"""`status`, `history` and `show`: what the journal knows, offline."""

import time
from collections.abc import Iterator

import click

from deployer.adapters.text import clean
from deployer.cli import document, wording
from deployer.cli.choices import TENANT
from deployer.cli.options import option
from deployer.cli.output import Style
from deployer.cli.program import invocation
from deployer.cli.report import resume_command
from deployer.cli.stored import find_run, find_runs
from deployer.cli.wording import Line
from deployer.failures import ExitCode
from deployer.run import Outcome, RunRecord, StoredEvent

_STYLES = {
    Outcome.SUCCEEDED: Style.GOOD,
    Outcome.FAILED: Style.BAD,
    Outcome.UNKNOWN: Style.BAD,
    Outcome.INTERRUPTED: Style.WARN,
}


@click.command()
@option("--tenant", type=TENANT, help="Of this tenant; default: of any.")
@click.pass_context
def status(ctx: click.Context, tenant: str | None) -> int:
    """Show the newest run and what to do next. Offline: the journal's word."""
    cli = invocation(ctx)
    found = find_runs(cli, tenant, 1)
    record = found[0] if found else None
    cli.answer(
        lambda: {
            "exit_code": ExitCode.DONE,
            "last": document.of_record(record) if record else None,
        },
        _summary(record) if record else _nothing(),
    )
    return ExitCode.DONE


@click.command()
@option("--tenant", type=TENANT, help="Of this tenant; default: of all.")
@option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.pass_context
def history(ctx: click.Context, tenant: str | None, limit: int) -> int:
    """List the runs, newest first."""
    cli = invocation(ctx)
    records = find_runs(cli, tenant, limit)
    cli.answer(
        lambda: {
            "exit_code": ExitCode.DONE,
            "runs": [document.of_record(each) for each in records],
        },
        _table(records) if records else _nothing(),
    )
    return ExitCode.DONE


@click.command()
@click.argument("run")
@click.pass_context
def show(ctx: click.Context, run: str) -> int:
    """Show RUN with its events."""
    cli = invocation(ctx)
    record = find_run(cli, run)
    cli.answer(
        lambda: {
            "exit_code": ExitCode.DONE,
            **document.of_record(record),
            "events": document.of_events(record),
        },
        (*_summary(record), *(_event(event) for event in record.events)),
    )
    return ExitCode.DONE


def _nothing() -> Iterator[Line]:
    yield Line("no runs yet; `deployer deploy` starts one")


def _table(records: tuple[RunRecord, ...]) -> Iterator[Line]:
    rows = [("RUN", "BEGAN", "OUTCOME", "TENANT", "TAG", "MESSAGE")]
    rows += [_row(record) for record in records]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    styles = (Style.DIM, *(_STYLES.get(record.outcome, Style.PLAIN) for record in records))
    for row, style in zip(rows, styles, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield Line("  ".join(cells).rstrip(), style)


def _row(record: RunRecord) -> tuple[str, str, str, str, str, str]:
    run = record.run
    failed = f" ({run.failure.kind.id})" if run.failure else ""
    return (
        run.id,
        _moment(run.opened_at),
        f"{record.outcome}{failed}",
        run.plan.request.tenant,
        run.facts.target.tag if run.facts.target else run.plan.tag,
        clean(run.plan.request.message or ""),
    )


def _summary(record: RunRecord) -> Iterator[Line]:
    run = record.run
    style = _STYLES.get(record.outcome, Style.PLAIN)
    dirty = " (dirty)" if run.plan.revision.dirty else ""
    yield Line(
        f"run      {run.id} of tenant {run.plan.request.tenant}, began {_moment(run.opened_at)}"
    )
    yield Line(f"outcome  {record.outcome}, in {run.state.title}", style)
    yield Line(f"image    {record.image or run.plan.tag}")
    yield Line(f"commit   {run.plan.revision.short_sha}{dirty}")
    if run.facts.deployment and run.facts.deployment.url:
        yield Line(f"url      {run.facts.deployment.url}")
    took = [
        f"{phase.state} {wording.duration(phase.seconds)}"
        for phase in record.phases
        if phase.entered
    ]
    if took:
        yield Line(f"time     {', '.join(took)}")
    if run.failure:
        kind = run.failure.kind
        yield Line(f"failure  {run.failure.phase.title}: {kind.id} {run.failure.cause}", Style.BAD)
        yield Line(f"         {kind.resolution}")
    yield Line(f"next     {_next(record)}")


def _next(record: RunRecord) -> str:
    match record.outcome:
        case Outcome.RUNNING:
            return "wait: a process is at it"
        case Outcome.FAILED | Outcome.UNKNOWN | Outcome.INTERRUPTED:
            return resume_command(record) or ""
        case Outcome.SUCCEEDED:
            return "nothing; `deployer rollback` goes back"
        case Outcome.ABANDONED:
            return "nothing: a newer run took its place"


def _event(event: StoredEvent) -> Line:
    shown = {
        key: value for key, value in event.data.items() if isinstance(value, str | int | float)
    }
    words = " ".join(f"{key}={clean(str(value))}" for key, value in shown.items())
    return Line(
        f"{event.seq:>4}  {_moment(event.at)}  {event.state:<14} {event.kind} {words}".rstrip()
    )


def _moment(wall: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall))
