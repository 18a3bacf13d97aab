"""Proving: the server's status, then the public URL, say that the new image runs."""

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from deployer.events import Waiting, Warned
from deployer.failures import Failure, Kind
from deployer.model import Deployment, Health, TenantStatus
from deployer.run import Facts, Run
from deployer.states.flow import State
from deployer.states.settling import has_own_tag
from deployer.states.world import World
from deployer.verdict import Verdict, judge

PAUSE_SECONDS: Final = 1.0
PAUSE_CAP: Final = 5.0
PAUSE_GROWTH: Final = 1.3


@dataclass(slots=True)
class Patience:
    """One deadline for status and health together, and growing pauses in between."""

    world: World
    deadline: float  # monotonic seconds
    asked: float  # monotonic seconds: when the last look began, whenever its answer was heard
    pause: float = PAUSE_SECONDS

    async def wait(self, what: str) -> bool:
        """Pause before the next look; False once one that began behind the deadline was in vain."""
        left = self.deadline - self.asked
        if left <= 0:
            return False
        self.world.emit(Waiting(what=what, seconds=left))
        await self.world.clock.sleep(min(self.pause, left))
        self.pause = min(self.pause * PAUSE_GROWTH, PAUSE_CAP)
        self.asked = self.world.clock.monotonic()
        return True


async def prove(run: Run, facts: Facts, world: World) -> Deployment | Failure:
    """The deployment with its proof, UPDATE_FAILED, UNHEALTHY or SUPERSEDED.

    Without `wait` the server's answer to the POST is believed, as long as it is no failure.
    """
    deployment = facts.deployment
    assert deployment is not None  # noqa: S101  # set by the only caller
    if judge(deployment.deploy_status) is Verdict.FAILED:
        return await _failed(deployment.deploy_status, None, facts, world)
    wait = run.plan.request.wait
    if not wait.wait:
        return deployment
    now = world.clock.monotonic()
    patience = Patience(world, now + wait.timeout, now)
    ready = await until_ready(run, facts, deployment, patience)
    if isinstance(ready, Failure):
        return ready
    return await until_healthy(run, ready, patience)


async def until_ready(
    run: Run, facts: Facts, deployment: Deployment, patience: Patience
) -> Deployment | Failure:
    """Poll the status until it says ready or failed; a single failed poll says nothing."""
    world = patience.world
    while True:
        status = await world.api.status(run.plan.request.tenant)
        if status is None:  # a server without the route: the public URL decides alone
            return deployment
        if isinstance(status, Failure):
            seen = status.cause
        else:
            tells = whose(status, run, str(facts.target), deployment)
            verdict = await _verdict(status, tells, facts, deployment, world)
            if verdict is not None:
                return verdict
            of = f" of {status.image}" if tells is Whose.EARLIER else ""
            seen = f"{status.deploy_status}{of}"
        if not await patience.wait(f"the tenant to be ready (now: {seen})"):
            return _unhealthy(
                f"the status stayed {seen!r} for {run.plan.request.wait.timeout:.0f} s"
            )


class Whose(Enum):
    """Which deploy a status tells of."""

    OURS = auto()  # or nobody knows
    EARLIER = auto()  # what ran before, still shown by a slow status
    LATER = auto()


def whose(status: TenantStatus, run: Run, image: str, deployment: Deployment) -> Whose:
    """Judge by the deploy's id, where the server names any, and by the image."""
    ours, before = deployment.deploy_id, deployment.previous_deploy_id
    is_other = status.image not in (None, image)
    match status.deploy_id:
        case None:
            return Whose.EARLIER if is_other else Whose.OURS
        case named if named == ours:
            return Whose.OURS
        case named if named == before:
            return Whose.EARLIER if is_other or ours is not None else Whose.OURS
    if is_other:
        return Whose.LATER if ours or before else Whose.EARLIER
    # An image that only this run deploys is ours under each id; one mutable tag is anybody's.
    return Whose.LATER if ours and before and not has_own_tag(run) else Whose.OURS


async def _verdict(
    status: TenantStatus, tells: Whose, facts: Facts, deployment: Deployment, world: World
) -> Deployment | Failure | None:
    if tells is Whose.LATER:
        cause = f"the tenant runs {status.image} now (deploy {status.deploy_id})"
        return Failure(phase=State.DEPLOYING, kind=Kind.SUPERSEDED, cause=cause)
    if tells is Whose.EARLIER:
        return None
    match judge(status.deploy_status):
        case Verdict.READY:
            url = deployment.url or status.url
            return replace(deployment, deploy_status=status.deploy_status, url=url)
        case Verdict.FAILED:
            return await _failed(status.deploy_status, status.message, facts, world)
        case Verdict.PENDING:
            return None


async def until_healthy(
    run: Run, deployment: Deployment, patience: Patience
) -> Deployment | Failure:
    """Look at the public URL until it answers, and keeps answering for the stability window."""
    request, world = run.plan.request, patience.world
    url = deployment.url or (f"https://{request.hostname}" if request.hostname else None)
    if url is None and judge(deployment.deploy_status) is not Verdict.READY:
        return _unhealthy(f"nothing is known but the word {deployment.deploy_status!r}, and no URL")
    if url is None:
        world.emit(Warned(text="neither the server nor tenants.json names a URL: not probed"))
        return deployment
    healthy_since: float | None = None
    while True:
        health = await world.health.look(url)
        now = world.clock.monotonic()
        healthy_since = (
            (now if healthy_since is None else healthy_since) if health.healthy else None
        )
        if healthy_since is not None and now - healthy_since >= request.wait.stability:
            return _proven(deployment, url, health, world)
        if not await patience.wait(f"{url} to be healthy (now: {health.word})"):
            return _unhealthy(f"{url}: {health.word}")


def _proven(deployment: Deployment, url: str, health: Health, world: World) -> Deployment:
    if health.word == "degraded":
        world.emit(Warned(text=f"{url} is up, but says it is degraded"))
    return replace(deployment, url=url, health=health.word)


async def _failed(word: str, message: str | None, facts: Facts, world: World) -> Failure:
    """The server tried and failed: its answer is used up, so a resume may POST anew."""
    used_up = replace(facts, deployment=None, failed_updates=facts.failed_updates + 1)
    await world.answered(used_up)
    cause = f"the server says {word!r}" + (f": {message}" if message else "")
    return Failure(phase=State.DEPLOYING, kind=Kind.UPDATE_FAILED, cause=cause)


def _unhealthy(cause: str) -> Failure:
    return Failure(phase=State.DEPLOYING, kind=Kind.UNHEALTHY, cause=cause)
