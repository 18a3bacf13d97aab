"""The words of the command line: values in, lines out. Remedies are the catalogue's alone."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from deployer.adapters.text import clean
from deployer.cli.output import Style
from deployer.cli.report import Report
from deployer.doctor.finding import Finding, Level
from deployer.failures import Failure
from deployer.run import Facts, Phase, Settlement, WaitPolicy
from deployer.states.flow import State

if TYPE_CHECKING:
    from deployer.events import Progress, Retrying, Waiting
    from deployer.preflight import Preflight

DETAILS_MAX: Final = 40  # lines of a tool that are shown below a failure
_ID_SHOWN: Final = 19  # characters: sha256: and 12 digits
_UNITS: Final = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


class Line(NamedTuple):
    """A line for a person."""

    text: str
    style: Style = Style.PLAIN


# -- Numbers


def size(count: float) -> str:
    """Bytes, as disks and networks count them."""
    for unit, factor in _UNITS:
        if count >= factor:
            return (
                f"{count / factor:.3g} {unit}"
                if count < 1000 * factor
                else f"{count / factor:.0f} {unit}"
            )
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """`0.3s`, `22s`, `1m48s`, `2h05m`."""
    if seconds < 10:  # noqa: PLR2004  # two digits are enough to compare
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def items(progress: "Progress") -> str:
    """How many of how many."""
    total = "" if progress.total is None else f"/{progress.total}"
    return f"{progress.done}{total} {progress.what}"


def transfer(moved: "Sequence[Progress]", seconds: float) -> str:
    """How much of how much, how fast, how long still."""
    done = sum(each.done for each in moved)
    known = tuple(each.total for each in moved if each.total is not None)
    finished = sum(1 for each in moved if each.total is not None and each.done >= each.total)
    parts = [f"{finished}/{len(moved)} layers"] if len(moved) > 1 else []
    total = sum(known) if len(known) == len(moved) else None
    parts.append(f"{size(done)} of {size(total)}" if total else size(done))
    rate = done / seconds if seconds >= 1 else 0.0
    if rate:
        parts.append(f"{size(rate)}/s")
    if rate and total and total > done:
        parts.append(f"{duration((total - done) / rate)} left")
    return " · ".join(parts)


def waiting(body: "Waiting") -> str:
    """What is awaited, and until when."""
    limit = f", up to {duration(body.seconds)}" if body.seconds else ""
    return f"waiting for {body.what}{limit}"


def retrying(body: "Retrying") -> str:
    """Which try comes, when, and why."""
    return f"try {body.attempt} of {body.tries} in {duration(body.seconds)}: {body.cause}"


# -- A state that ended


def finished(state: State, facts: Facts) -> str:
    """What a state left."""
    match state:
        case State.BUILDING if facts.binaries:
            total = sum(binary.size for binary in facts.binaries)
            count = len(facts.binaries)
            return f"{count} {'binary' if count == 1 else 'binaries'}, {size(total)}"
        case State.IMAGING if facts.image:
            return f"{facts.image.image_id[:_ID_SHOWN]} {size(facts.image.size)}"
        case State.AUTHENTICATING if facts.target:
            return facts.target.name
        case State.PUSHING if facts.digest:
            return facts.digest[:_ID_SHOWN]
        case State.DEPLOYING if facts.deployment:
            health = facts.deployment.health
            return facts.deployment.deploy_status + (f", {health}" if health else "")
        case _:
            return "done"


# -- The end


def closing(report: Report) -> Iterator[Line]:
    """The last lines of a deploy, resume or rollback."""
    if report.refusals:
        yield from (Line(f"deployer: {refusal}", Style.BAD) for refusal in report.refusals)
    elif report.failure is not None:
        yield from _failed(report, report.failure)
    elif report.signal is not None:
        yield from _interrupted(report)
    elif report.done:
        yield from _succeeded(report)


def _succeeded(report: Report) -> Iterator[Line]:
    if report.found_finished:
        yield Line(
            f"run {report.run} had finished already, and nobody had heard of it; --new deploys again"
        )
    status = ", ".join(word for word in (report.deploy_status, report.health) if word)
    yield Line(
        f"done: {report.image or report.tenant} is deployed ({status or 'accepted'})", Style.GOOD
    )


def _failed(report: Report, failure: Failure) -> Iterator[Line]:
    for detail in failure.details[-DETAILS_MAX:]:
        yield Line(f"  | {clean(detail)}", Style.DIM)
    kind = failure.kind
    if report.run:
        yield Line(f"{failure.phase.title} failed: {kind.id} {failure.cause}", Style.BAD)
        yield Line(f"  {kind.resolution}")
    else:  # one line: what, where, what to do
        yield Line(f"not started: {kind.id} {failure.cause} → {kind.resolution}", Style.BAD)
    if failure.retry_after:
        yield Line(f"  the other side asks to wait {duration(failure.retry_after)}")
    if report.resume:
        yield Line(f"  {kept(report.phases)}next: {report.resume}")
    yield Line(f"  more: deployer explain {failure.kind.id}", Style.DIM)


def _interrupted(report: Report) -> Iterator[Line]:
    if report.run is None:
        yield Line("stopped before a run was started; nothing happened", Style.WARN)
        return
    state = report.state.title if report.state else "unknown"
    yield Line(f"stopped in {state}", Style.WARN)
    if report.resume:
        yield Line(f"  {kept(report.phases)}next: {report.resume}")


def settled(run: str, settlement: Settlement, command: str | None) -> Iterator[Line]:
    """What a person's word changed, and what goes on from there."""
    yield Line(f"run {run}: the journal has it as {settlement} now")
    if command:
        sent = "prove that it runs" if settlement is Settlement.DEPLOYED else "send it again"
        yield Line(f"next: {command}, to {sent}")


def kept(phases: Sequence[Phase]) -> str:
    """What a resume need not do again."""
    seconds = sum(phase.seconds for phase in phases[:-1])
    return f"{duration(seconds)} of finished work is kept; " if seconds >= 1 else ""


def plan(report: "Preflight", wait: WaitPolicy) -> Iterator[Line]:
    """What a deploy would do, and whether it could."""
    request = report.request
    dirty = " (dirty)" if report.revision.dirty else ""
    yield Line(f"tenant   {request.tenant}")
    yield Line(f"image    {report.target or 'not known yet'}")
    yield Line(f"commit   {report.revision.short_sha}{dirty}")
    yield from findings(report.checks)
    yield Line(f"steps    {_steps(skip_push=request.skip_push)}")
    yield Line(f"proof    {_proof(wait)}")


def findings(found: Sequence[Finding]) -> Iterator[Line]:
    """What checks found, one line each."""
    return (_finding(each) for each in found)


def _finding(found: Finding) -> Line:
    text = clean(f"{found.name}: {found.text}", limit=1000)
    match found.level:
        case Level.FAIL if found.failure is not None:
            kind = found.failure.kind
            named = clean(f"{found.name}: {kind.id} {found.text}", limit=1000)
            return Line(f"  FAILED {named}: {kind.resolution}", Style.BAD)
        case Level.WARN:
            return Line(f"  warn   {text}: {found.remedy}", Style.WARN)
        case Level.SKIPPED:
            return Line(f"  -      {text}", Style.DIM)
        case _:
            return Line(f"  ok     {text}")


def _steps(*, skip_push: bool) -> str:
    if skip_push:
        return "deploying (an image that the registry has)"
    return "building, imaging, authenticating, pushing, deploying"


def _proof(wait: WaitPolicy) -> str:
    if not wait.wait:
        return "none: --no-wait ends with the server's answer"
    stable = f", stable for {duration(wait.stability)}" if wait.stability else ""
    return f"status and health within {duration(wait.timeout)}{stable}"


def verdict(found: Sequence[Finding]) -> Line:
    """How many checks ended how."""
    failed = sum(each.level is Level.FAIL for each in found)
    warned = sum(each.level is Level.WARN for each in found)
    passed = sum(each.level is Level.PASS for each in found)
    style = Style.BAD if failed else Style.WARN if warned else Style.GOOD
    return Line(f"{failed} failed, {warned} warned, {passed} passed; nothing was changed", style)
