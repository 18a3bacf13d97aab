"""`deployer explain`: a row of the catalogue in full, offline."""

import difflib
import textwrap
from collections.abc import Iterator
from typing import Final

import click

from deployer.behaviours import BEHAVIOURS, Behaviour
from deployer.cli import document
from deployer.cli.program import invocation
from deployer.cli.wording import Line
from deployer.explanations import EXPLANATIONS
from deployer.failures import ExitCode, Failure, Kind, exit_code
from deployer.states.flow import WORKING, State

_WIDTH: Final = 88  # characters a line
_BY_LETTER: Final = {state.title[0]: state for state in WORKING}


@click.command()
@click.argument("failure")
@click.pass_context
def explain(ctx: click.Context, failure: str) -> int:
    """Explain the failure id FAILURE, as P01."""
    cli = invocation(ctx)
    found = _find(failure)
    if isinstance(found, Kind):
        cli.answer(lambda: _document(found), _lines(found))
    else:
        cli.answer(lambda: _behaviour_document(found), _behaviour_lines(found))
    return ExitCode.DONE


def _find(text: str) -> Kind | Behaviour:
    rows: tuple[Kind | Behaviour, ...] = (*Kind, *BEHAVIOURS)
    for row in rows:
        if text.lower() in (row.id.lower(), row.name.lower()):
            return row
    near = difflib.get_close_matches(text.upper(), [row.id for row in rows], n=3, cutoff=0.4)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    raise click.UsageError(f"no failure has the id {text!r}{meant}")


def phase_of(kind: Kind) -> State | None:
    """The state whose work can fail so; None for what concerns the tool itself."""
    return _BY_LETTER.get(kind.id[0])


def _code(kind: Kind) -> int:
    return exit_code(Failure(phase=phase_of(kind) or State.BUILDING, kind=kind, cause=""))


def _again(kind: Kind) -> str:
    if kind.retry.settle:
        return "not repeated: `resume` first finds out what happened"
    return f"tried up to {kind.retry.tries} times" if kind.retriable else "not repeated by itself"


def _lines(kind: Kind) -> Iterator[Line]:
    phase = phase_of(kind)
    entered = kind.resume_at or phase
    yield Line(
        f"{kind.id}  {kind.name.lower().replace('_', ' ')}  ({phase.title if phase else 'the tool itself'})"
    )
    yield Line("")
    yield from (Line(line) for line in textwrap.wrap(EXPLANATIONS[kind], _WIDTH))
    yield Line("")
    yield Line(f"what to do   {kind.resolution}")
    yield Line(f"repetition   {_again(kind)}")
    if entered:
        yield Line(f"resume       goes on in {entered.title}")
    yield Line(f"exit code    {_code(kind)}")


def _document(kind: Kind) -> document.Document:
    phase = phase_of(kind)
    return {
        "exit_code": ExitCode.DONE,
        "id": kind.id,
        "kind": kind.name.lower(),
        "phase": phase,
        "text": EXPLANATIONS[kind],
        "resolution": kind.resolution,
        "retriable": kind.retriable,
        "resume_at": kind.resume_at or phase,
        "failure_exit_code": _code(kind),
    }


def _behaviour_lines(behaviour: Behaviour) -> Iterator[Line]:
    phase = behaviour.phase.title if behaviour.phase else "the tool itself"
    yield Line(f"{behaviour.id}  {behaviour.name}  ({phase})")
    yield Line("")
    yield from (Line(line) for line in textwrap.wrap(behaviour.text, _WIDTH))
    if behaviour.reported:
        yield Line("")
        yield Line(f"reported as  {behaviour.reported.id}, if it lasts")


def _behaviour_document(behaviour: Behaviour) -> document.Document:
    return {
        "exit_code": ExitCode.DONE,
        "id": behaviour.id,
        "kind": behaviour.name.replace(" ", "_"),
        "phase": behaviour.phase,
        "text": behaviour.text,
        "reported_as": behaviour.reported.id if behaviour.reported else None,
    }
