"""Authenticating: the Management API gives a login for the registry, and may name the tag."""

from dataclasses import replace

from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import ImageRef, InvalidNameError
from deployer.run import DeployRequest, Plan, Run, StateOutcome, Step
from deployer.states.flow import Event, State
from deployer.states.world import World


async def authenticating(run: Run, world: World) -> StateOutcome:
    """Fetch a login and settle where the image goes."""
    login = await fetch_login(run.plan.request.tenant, world)
    if isinstance(login, Failure):
        return login
    target = target_of(run.plan, login)
    if isinstance(target, Failure):
        return target
    return Step(Event.AUTHENTICATED, replace(run.facts, target=target))


async def fetch_login(tenant: str, world: World) -> Login | Failure:
    """Fetch a login and keep it in memory."""
    login = await world.api.registry_login(tenant)
    if isinstance(login, Login):
        world.learn(login.password)
        world.login = login
        world.logins += 1
    return login


def target_of(plan: Plan, login: Login) -> ImageRef | Failure:
    """Where this plan's image goes: the server's tag where it names one, else the plan's own."""
    refused = refused_tag(plan.request, login)
    if refused is not None:
        return refused
    repository = login.repository or plan.request.app
    if repository is None:
        return _unusable("names no repository, and tenants.json has no app_id for the tenant")
    if repository in plan.request.foreign_apps:
        return _unusable(f"names the repository {repository}, which is another tenant's")
    try:
        return ImageRef(login.registry, repository, login.tag or plan.tag)
    except InvalidNameError as error:
        return _unusable(str(error))


def refused_tag(request: DeployRequest, login: Login) -> Failure | None:
    """On the server-tag contract any other tag is refused by the server: say so beforehand."""
    if login.tag is None or request.tag in (None, login.tag):
        return None
    cause = f"this server accepts only the tag {login.tag!r}, not {request.tag!r}"
    return Failure(phase=State.AUTHENTICATING, kind=Kind.TAG_NOT_ACCEPTED, cause=cause)


def _unusable(why: str) -> Failure:
    return Failure(
        phase=State.AUTHENTICATING,
        kind=Kind.LOGIN_UNUSABLE,
        cause=f"the registry-token answer {why}",
    )
