"""Pushing: the image goes to the tenant's repository, and the registry confirms its digest."""

from dataclasses import replace
from typing import Final

from deployer.events import Waiting
from deployer.failures import Failure, Kind
from deployer.model import Image, Login
from deployer.names import Digest, ImageRef
from deployer.run import Run, StateOutcome, Step
from deployer.states.flow import Event, State
from deployer.states.verifying import shown, unreadable
from deployer.states.world import World

# A registry may show a manifest some seconds after it took it.
VISIBLE_SECONDS: Final = 60.0
VISIBLE_PAUSE: Final = 2.0
_AUTH: Final = (Kind.REGISTRY_AUTH, Kind.LOGIN_EXPIRED)


async def pushing(run: Run, world: World) -> StateOutcome:
    """Push exactly the image that Imaging left; the digest is the registry's own."""
    login, image, target = world.login, run.facts.image, run.facts.target
    if login is None or target is None:
        return Step(Event.LOGIN_GONE, run.facts, "the registry login lives in memory only")
    if image is None:
        return Step(Event.IMAGE_GONE, run.facts, "no image was recorded")
    found = await world.engine.image_id(image.local_tag)
    if isinstance(found, Failure):
        return replace(found, phase=State.PUSHING)
    if found != image.image_id:
        return Step(Event.IMAGE_GONE, run.facts, f"the engine has no image {image.image_id}")
    await world.ahead.finish()
    pushed = await push(image, target, login, world)
    if not isinstance(pushed, Failure):
        pushed = await confirmed(pushed, target, run.plan.request.tenant, world)
    if isinstance(pushed, Failure):
        return _login_gone(run, world, pushed) or _image_gone(run, pushed) or pushed
    return Step(Event.PUSHED, replace(run.facts, digest=pushed))


async def push(image: Image, target: ImageRef, login: Login, world: World) -> Digest | Failure:
    """Ask the registry, and push."""
    # Before the engine is told the password: an engine sends it wherever the registry's challenge
    # points, and calls a registry that is down an authentication failure (both measured).
    refused = await world.registry.probe(login)
    if refused is not None:
        return refused
    pushed = await world.engine.push(image.local_tag, target, login, world.emit)
    if isinstance(pushed, Failure):
        return await explained(pushed, login, world)
    return pushed


async def explained(failure: Failure, login: Login, world: World) -> Failure:
    """The true cause behind an engine's "unauthorized": the registry's own answer, if it has one."""
    if failure.kind not in _AUTH:
        return failure
    refused = await world.registry.probe(login)
    return failure if refused is None or refused.kind in _AUTH else refused


async def confirmed(
    pushed: Digest, target: ImageRef, tenant: str, world: World
) -> Digest | Failure:
    """The digest, once the registry itself shows it under the tag."""
    assert world.login is not None  # noqa: S101  # it was pushed with one
    deadline = world.clock.monotonic() + VISIBLE_SECONDS
    while True:
        asked = world.clock.monotonic()  # whoever stood still meanwhile hears an old answer
        seen = await shown(target, world.login, tenant, world)
        if seen is not None or asked >= deadline:
            break
        world.emit(Waiting(what=f"the registry to show {target.tag}", seconds=VISIBLE_SECONDS))
        await world.clock.sleep(VISIBLE_PAUSE)
    if seen == pushed:
        return pushed
    if isinstance(seen, Failure):
        return pushed if unreadable(seen, pushed, world) else seen
    cause = f"pushed {pushed}, but {target.tag} is {seen or 'absent'} at the registry"
    return Failure(phase=State.PUSHING, kind=Kind.TAG_OVERWRITTEN, cause=cause)


def _image_gone(run: Run, failure: Failure) -> Step | None:
    """An image that was pruned since it was looked for is made again."""
    if failure.kind is not Kind.IMAGE_NOT_LOCAL:
        return None
    return Step(Event.IMAGE_GONE, run.facts, failure.cause)


def _login_gone(run: Run, world: World, failure: Failure) -> Step | None:
    """A refused login is renewed once; one that is refused when fresh is refused for good."""
    if failure.kind not in _AUTH or world.logins > 1:
        return None
    return Step(Event.LOGIN_GONE, run.facts, failure.cause)
