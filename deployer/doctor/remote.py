"""The other side: the Management API, and the registry that its login is for."""

from typing import Final

from deployer.doctor.exam import Exam
from deployer.doctor.finding import Advice, Finding, failed
from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import ImageRef
from deployer.states.verifying import absent
from deployer.verdict import Verdict, judge

SKEW_SECONDS: Final = 60.0  # a token server may be stricter than that; few are
# What a refused upload certainly says; other answers to a mere question may be a registry's whim.
_NO_PUSH: Final = frozenset(
    {
        *(Kind.REGISTRY_AUTH, Kind.REPOSITORY_DENIED, Kind.REALM_FOREIGN, Kind.REGISTRY_TLS),
        *(Kind.REGISTRY_UNREACHABLE, Kind.REGISTRY_UNAVAILABLE, Kind.REGISTRY_RATE_LIMIT),
    }
)


async def account(exam: Exam) -> tuple[Finding, ...]:
    """Whom the API takes us for, and how far its clock is from ours."""
    found = await exam.patiently(exam.adapters.api.account)
    if isinstance(found, Failure):
        return (failed("account", found),)
    seen = Finding(name="account", text=found.user)
    if found.server_time is None:
        return (seen,)
    ahead = exam.adapters.clock.wall() - found.server_time
    text = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the Management API's"
    skewed = abs(ahead) > SKEW_SECONDS
    return (seen, Finding(name="clock", text=text, advice=Advice.CLOCK if skewed else None))


async def login(exam: Exam) -> tuple[Finding, ...]:
    """Whether the API gives a login for the registry."""
    found = await exam.login()
    if isinstance(found, Failure):
        return (failed("login", found),)
    return (Finding(name="login", text=f"registry {found.registry}"),)


async def registry(exam: Exam) -> tuple[Finding, ...]:
    """Whether a registry answers, and takes the login."""
    found = await exam.login()
    if not isinstance(found, Login):
        return ()
    refused = await exam.patiently(lambda: exam.adapters.registry.probe(found))
    if refused is not None:
        return (failed("registry", refused),)
    return (Finding(name="registry", text="takes the login"),)


async def image(exam: Exam) -> tuple[Finding, ...]:
    """Where the image would go."""
    target = await exam.target()
    if target is None:
        return ()
    if isinstance(target, Failure):
        return (failed("image", target),)
    return (Finding(name="image", text=str(target)),)


async def pushed(exam: Exam) -> tuple[Finding, ...]:
    """Whether the registry has an image that is deployed as it is; a run looks for itself."""
    found, target = await exam.login(), await exam.target()
    if not (isinstance(found, Login) and isinstance(target, ImageRef)):
        return ()
    seen = await exam.patiently(lambda: exam.adapters.registry.digest(target, found))
    if seen is not None:
        return ()  # or the login may not read: then a run warns that nothing is checked
    return (failed("image", absent(target)),)


async def push(exam: Exam) -> tuple[Finding, ...]:
    """Whether the registry would take an upload: found out now, not after the compile."""
    found, target = await exam.login(), await exam.target()
    if not (isinstance(found, Login) and isinstance(target, ImageRef)):
        return ()
    refused = await exam.patiently(lambda: exam.adapters.registry.may_push(target, found))
    if refused is None:
        return (Finding(name="push", text=f"{target.name} takes uploads"),)
    if refused.kind in _NO_PUSH:
        return (failed("push", refused),)
    text = f"not known whether uploads are let in: {refused.cause}"
    return (Finding(name="push", text=text, advice=Advice.TRY_AGAIN),)


async def status(exam: Exam) -> tuple[Finding, ...]:
    """What the tenant runs now."""
    tenant = exam.plan.request.tenant
    found = await exam.patiently(lambda: exam.adapters.api.status(tenant))
    if found is None:
        return (Finding(name="status", text="this server does not tell"),)
    if isinstance(found, Failure):
        return (Finding(name="status", text=found.cause, advice=Advice.TRY_AGAIN),)
    text = f"{found.deploy_status} {found.image or ''}".rstrip()
    bad = judge(found.deploy_status) is Verdict.FAILED
    return (Finding(name="status", text=text, advice=Advice.UNHEALTHY if bad else None),)
