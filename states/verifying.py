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
    if isinstance(seen, Failure) and not unreadable(seen, target, world):
        return replace(seen, phase=State.DEPLOYING)
    if isinstance(seen, Failure):
        # One mutable tag: what it points at is not what a rollback wants.
        back = run.plan.request.digest if login.tag is not None else None
        return facts if back is None else await _put_back(facts, back, login, world)
    sent = run.intent.digest if run.intent else None
    wanted = facts.digest or sent or run.plan.request.digest
    if wanted not in (None, seen):
        return await _moved(run, facts, wanted, seen, login, world)
    if seen is None:
        return absent(target)
    return replace(facts, digest=seen)


async def _moved(
    run: Run, facts: Facts, wanted: Digest, seen: Digest | None, login: Login, world: World
) -> Facts | StateOutcome:
    """The tag points elsewhere: put it back for a rollback, push again for a deploy."""
    if run.intent is not None and seen is not None:
        # Whoever moved it came after our POST, and the tenant may run theirs: nothing is undone.
        cause = f"{facts.target} is {seen} now, and was {wanted} when it was sent"
        return Failure(phase=State.DEPLOYING, kind=Kind.POST_OPEN, cause=cause)
    if not run.plan.request.skip_push:
        return Step(Event.DIGEST_GONE, run.facts, f"{facts.target} is {seen or 'absent'}")
    return await _put_back(facts, wanted, login, world)


async def _put_back(facts: Facts, wanted: Digest, login: Login, world: World) -> Facts | Failure:
    assert facts.target is not None  # noqa: S101  # set by the only caller
    refused = await world.registry.retag(facts.target, wanted, login)
    if refused is None:
        return replace(facts, digest=wanted)
    cause = f"{wanted} cannot be put back under {facts.target}: {refused.cause}"
    return Failure(phase=State.DEPLOYING, kind=Kind.NO_ROLLBACK, cause=cause)


def absent(target: ImageRef) -> Failure:
    """What it means that the registry lacks an image that is to be deployed as it is."""
    cause = f"the registry has no image {target}"
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
