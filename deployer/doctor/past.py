"""The journal: whether it can be used, a run that stands open, and how long a deploy takes here."""

from deployer.doctor.exam import Exam
from deployer.doctor.finding import Advice, Finding, failed
from deployer.errors import JournalError
from deployer.run import Outcome, Run


async def usable(exam: Exam) -> tuple[Finding, ...]:
    """Whether the journal can be used; said only where it cannot."""
    try:
        await exam.adapters.journal.check()
        await _newest(exam)
    except JournalError as error:
        return (failed("journal", error.failure),)
    return ()


async def runs(exam: Exam) -> tuple[Finding, ...]:
    """Whether a run of the tenant stands unfinished in the journal."""
    try:
        latest, left = await _newest(exam)
    except JournalError:
        return ()  # `usable` tells
    if latest is not None and latest.intent is not None and not latest.abandoned:
        text = f"run {latest.id} sent a request to deploy, and no answer is known"
        return (Finding(name="journal", text=text, advice=Advice.SETTLE),)
    if left is not None:
        text = f"run {left.id} stands in {left.state}"
        return (Finding(name="journal", text=text, advice=Advice.OPEN_RUN),)
    text = f"the newest run is {latest.id}" if latest else "no runs of this tenant yet"
    return (Finding(name="journal", text=text),)


async def _newest(exam: Exam) -> tuple[Run | None, Run | None]:
    """The tenant's newest run, and the one that stands open. Raises JournalError."""
    tenant, kept = exam.plan.request.tenant, exam.adapters.journal
    return await kept.latest(tenant), await kept.open_of(tenant)


async def login_lasts(exam: Exam) -> tuple[Finding, ...]:
    """Whether the API login outlives a deploy as long as the last one."""
    ends = exam.adapters.surroundings.login_ends
    if ends is None:
        return ()
    left = ends - exam.adapters.clock.wall()
    needed = await _last_took(exam)
    text = f"the login ends in {left / 60:.0f} min"
    if needed is not None:
        text += f", the last deploy took {needed / 60:.0f} min"
    short = left < max(needed or 0.0, 600.0)
    return (Finding(name="login ends", text=text, advice=Advice.LOGIN_ENDS if short else None),)


async def _last_took(exam: Exam) -> float | None:
    """Seconds of the tenant's last deploy that compiled; None where there is none."""
    try:
        records = await exam.adapters.journal.history(exam.plan.request.tenant, 20)
    except JournalError:
        return None  # `usable` tells
    for record in records:
        if record.outcome is Outcome.SUCCEEDED and not record.run.plan.request.skip_push:
            return sum(phase.seconds for phase in record.phases)
    return None
