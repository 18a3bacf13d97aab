"""Proving: the server's status, then the public URL, say that the new image runs."""

from dataclasses import dataclass, replace
from typing import Final

from deployer.events import Waiting, Warned
from deployer.failures import Failure, Kind
from deployer.model import Deployment, Health, TenantStatus
from deployer.run import Facts, Run
from deployer.states.flow import State
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
        if isinstance(status, TenantStatus):
            verdict = await _verdict(status, facts, deployment, world)
            if verdict is not None:
                return verdict
        seen = status.cause if isinstance(status, Failure) else status.deploy_status
        if not await patience.wait(f"the tenant to be ready (now: {seen})"):
            return _unhealthy(
                f"the status stayed {seen!r} for {run.plan.request.wait.timeout:.0f} s"
            )


async def _verdict(
    status: TenantStatus, facts: Facts, deployment: Deployment, world: World
) -> Deployment | Failure | None:
    if _is_newer(status, facts, deployment):
        cause = f"the tenant runs {status.image} now (deploy {status.deploy_id})"
        return Failure(phase=State.DEPLOYING, kind=Kind.SUPERSEDED, cause=cause)
    match judge(status.deploy_status):
        case Verdict.READY:
            url = deployment.url or status.url
            return replace(deployment, deploy_status=status.deploy_status, url=url)
        case Verdict.FAILED:
            return await _failed(status.deploy_status, status.message, facts, world)
        case Verdict.PENDING:
            return None


def _is_newer(status: TenantStatus, facts: Facts, deployment: Deployment) -> bool:
    """Whether a deploy came after ours: not the one before it, which a slow status still shows."""
    if status.image in (None, str(facts.target)):
        return False
    known = {deployment.deploy_id, deployment.previous_deploy_id} - {None}
    # Not each server names its deploys in the answer; what ran before is known from the status.
    return bool(known) and status.deploy_id is not None and status.deploy_id not in known


async def until_healthy(
    run: Run, deployment: Deployment, patience: Patience
) -> Deployment | Failure:
    """Look at the public URL until it answers, and keeps answering for the stability window."""
    request, world = run.plan.request, patience.world
    url = deployment.url or (f"https://{request.hostname}" if request.hostname else None)
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
