"""Verifying: the registry still has, under the tag, what this run is about to deploy."""

from dataclasses import replace
from typing import Final

from deployer.events import Warned
from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import Digest, ImageRef
from deployer.run import Facts, Run, StateOutcome, Step
from deployer.states.authenticating import fetch_login, target_of
from deployer.states.flow import Event, State
from deployer.states.world import World

_NO_READING: Final = (Kind.REGISTRY_AUTH, Kind.REPOSITORY_DENIED)


async def verified(run: Run, world: World) -> Facts | StateOutcome:
    """The facts with the digest that the tag points at, or why it cannot be deployed."""
    if run.facts.deployment is not None:
        return run.facts
    login = world.login or await fetch_login(run.plan.request.tenant, world)
    if isinstance(login, Failure):
        return replace(login, phase=State.DEPLOYING)
    target = run.facts.target or target_of(run.plan, login)
    if isinstance(target, Failure):
        return replace(target, phase=State.DEPLOYING)
    facts = replace(run.facts, target=target)
    seen = await shown(target, login, run.plan.request.tenant, world)
    if isinstance(seen, Failure):
        return facts if unreadable(seen, target, world) else replace(seen, phase=State.DEPLOYING)
    wanted = facts.digest or run.plan.request.digest
    if wanted not in (None, seen):
        return await _moved(run, facts, wanted, seen, login, world)
    if seen is None:
        return _absent(facts)
    return replace(facts, digest=seen)


async def _moved(
    run: Run, facts: Facts, wanted: Digest, seen: Digest | None, login: Login, world: World
) -> Facts | StateOutcome:
    """The tag points elsewhere: put it back for a rollback, push again for a deploy."""
    assert facts.target is not None  # noqa: S101  # set by the only caller
    if not run.plan.request.skip_push:
        return Step(Event.DIGEST_GONE, run.facts, f"{facts.target} is {seen or 'absent'}")
    refused = await world.registry.retag(facts.target, wanted, login)
    if refused is None:
        return replace(facts, digest=wanted)
    cause = f"{wanted} cannot be put back under {facts.target}: {refused.cause}"
    return Failure(phase=State.DEPLOYING, kind=Kind.NO_ROLLBACK, cause=cause)


def _absent(facts: Facts) -> Failure:
    cause = f"the registry has no image {facts.target}"
    return Failure(phase=State.DEPLOYING, kind=Kind.IMAGE_NOT_FOUND, cause=cause)


async def shown(
    target: ImageRef, login: Login, tenant: str, world: World
) -> Digest | Failure | None:
    """The digest under the tag, as the registry shows it; a login that it refuses may have ended."""
    seen = await world.registry.digest(target, login)
    if not isinstance(seen, Failure) or seen.kind is not Kind.REGISTRY_AUTH:
        return seen
    fresh = await fetch_login(tenant, world)
    return seen if isinstance(fresh, Failure) else await world.registry.digest(target, fresh)


def unreadable(failure: Failure, what: object, world: World) -> bool:
    """Whether this is a login that may push but not read: then nothing is checked, with a warning."""
    if failure.kind not in _NO_READING:
        return False
    world.emit(Warned(text=f"the registry lets this login not read: {what} is unchecked there"))
    return True
