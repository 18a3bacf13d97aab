"""What can be known before the long compile: the doctor's checks that concern one deploy."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployer.builders import Choice
from deployer.doctor.checks import Check, findings, of_deploy, of_doctor, of_dry_run
from deployer.doctor.exam import Exam
from deployer.doctor.finding import Finding, Level
from deployer.failures import Failure
from deployer.model import Crate, Login, Revision
from deployer.names import ImageRef
from deployer.ports import Adapters
from deployer.run import DeployRequest, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What was looked at, and what a run would do."""

    request: DeployRequest
    revision: Revision
    crates: tuple[Crate, ...] = ()
    checks: tuple[Finding, ...] = ()
    choice: Choice | None = None  # None: nothing is built, or nobody can
    target: ImageRef | None = None  # None: it is not known where the image would go
    login: Login | None = field(default=None, repr=False)  # for `target`

    @property
    def failure(self) -> Failure | None:
        """The first failure, in the order in which a run would meet them; the others beside it."""
        failures = tuple(check.failure for check in self.checks if check.failure)
        if not failures:
            return None
        others = tuple(f"also {each.id} {each.cause}: {each.resolution}" for each in failures[1:])
        return replace(failures[0], details=(*failures[0].details, *others))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not stop a deploy."""
        return tuple(check.text for check in self.checks if check.level is Level.WARN)


async def preflight(plan: Plan, adapters: Adapters) -> Preflight:
    """Look at everything that `plan` needs, without an effect anywhere."""
    checks = of_deploy(builds=not plan.request.skip_push)
    return await _looked(plan, adapters, checks, api=True)


async def dry_run(plan: Plan, adapters: Adapters) -> Preflight:
    """The same where no run follows."""
    checks = of_dry_run(builds=not plan.request.skip_push)
    return await _looked(plan, adapters, checks, api=True)


async def doctor(plan: Plan, adapters: Adapters, *, api: bool) -> Preflight:
    """Look at all that there is to look at; without `api`, at what needs no Management API."""
    return await _looked(plan, adapters, of_doctor(api=api), api=api)


async def _looked(
    plan: Plan, adapters: Adapters, checks: tuple[Check, ...], *, api: bool
) -> Preflight:
    exam = Exam(plan, adapters)
    found = await findings(exam, checks)
    target = await exam.target() if api else None
    login = await exam.login() if api else None
    choice = None if plan.request.skip_push else await exam.choice()
    return Preflight(
        request=plan.request,
        revision=plan.revision,
        crates=() if plan.request.skip_push else exam.crates(),
        checks=found,
        choice=choice if isinstance(choice, Choice) else None,
        target=target if isinstance(target, ImageRef) else None,
        login=login if isinstance(login, Login) else None,
    )


def scrubbed(
    report: Preflight, scrub: Callable[[Failure], Failure], line: Callable[[str], str]
) -> Preflight:
    """`report` with each failure passed through `scrub`, and what else was found through `line`."""
    return replace(report, checks=tuple(_scrubbed(check, scrub, line) for check in report.checks))


def _scrubbed(
    check: Finding, scrub: Callable[[Failure], Failure], line: Callable[[str], str]
) -> Finding:
    failure = scrub(check.failure) if check.failure else None
    return replace(check, text=line(check.text), failure=failure)
