"""Settling: find out what an unanswered POST did, without guessing and without repeating it."""

import random
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from deployer.events import Waiting
from deployer.failures import BACKOFF, Failure, Kind
from deployer.model import Deployment, TenantStatus
from deployer.run import Intent, Run
from deployer.states.flow import State
from deployer.states.world import World

PAUSE_SECONDS: Final = 2.0
# The server's promise that one key is worked on once; announced beside its answers.
IDEMPOTENT: Final = "idempotency-key"
# After so many POSTs without any trace, "unknown" is the honest answer. Where the server honours
# keys one more does no harm: the catalogue's patience is had then, and a POST by each resume.
ATTEMPTS: Final = 3
_WHAT: Final = "the outcome of the POST without an answer"


async def settle(
    run: Run, intent: Intent, world: World, unknown: Failure | None = None
) -> Deployment | Failure | None:
    """The deployment that the POST made, or None when it may be sent again, or why nobody knows.

    Sent again with the same key within seconds where the server honours keys; elsewhere only after
    the whole settle window without a trace, even if the server looks idle: it may not have started.
    `unknown`: how the POST of this process ended; None where an earlier one left it open.
    """
    deadline = world.clock.monotonic() + run.plan.request.wait.settle
    why = unknown or Failure(
        phase=State.DEPLOYING, kind=Kind.POST_OPEN, cause="the process ended before an answer came"
    )
    while True:
        # When it was asked, not when it was heard: a process that stood still in between (Ctrl-Z)
        # hears an answer of before, and the server may have begun since.
        left = deadline - world.clock.monotonic()
        status = await world.api.status(run.plan.request.tenant)
        match reading(intent, status, _capabilities(world), unique=has_own_tag(run)):
            case Trace.FOUND:
                assert isinstance(status, TenantStatus)  # noqa: S101  # what FOUND means
                return _found(intent, status)
            case Trace.OVERTAKEN:
                assert isinstance(status, TenantStatus)  # noqa: S101  # what OVERTAKEN means
                return _overtaken(run, intent, status)
            case Trace.SEND_AGAIN if unknown is None or intent.attempt < BACKOFF.tries:
                await _between_posts(intent, unknown, world)
                return None
            case Trace.NONE_YET if left <= 0 and intent.attempt < ATTEMPTS:
                return None
            case Trace.UNTRACEABLE:
                return _unknown(intent, why)
            case _ if left <= 0:
                return _unknown(intent, why)
            case _:
                world.emit(Waiting(what=_WHAT, seconds=left))
                await world.clock.sleep(min(PAUSE_SECONDS, left))


async def _between_posts(intent: Intent, unknown: Failure | None, world: World) -> None:
    """Give the server time to come back; an earlier process has done so already."""
    if unknown is not None:
        pause = BACKOFF.pause(intent.attempt, random.random())  # noqa: S311  # no secret
        world.emit(Waiting(what=_WHAT, seconds=pause))
        await world.clock.sleep(pause)


class Trace(Enum):
    """What one look at the status tells of a POST."""

    FOUND = auto()  # it was done
    OVERTAKEN = auto()  # done or not, somebody else deployed after it was sent
    SEND_AGAIN = auto()  # not seen, and the server works on one key once
    NONE_YET = auto()  # not seen, and it may still begin
    UNREADABLE = auto()  # no answer this time
    UNTRACEABLE = auto()  # this server never tells


def reading(
    intent: Intent,
    status: TenantStatus | Failure | None,
    capabilities: frozenset[str],
    *,
    unique: bool,
) -> Trace:
    """Judge one answer of the status route."""
    if isinstance(status, Failure):
        return Trace.UNREADABLE
    if status is not None and is_ours(intent, status, unique=unique):
        return Trace.FOUND
    if status is not None and is_newer(intent, status):
        return Trace.OVERTAKEN
    if IDEMPOTENT in capabilities | (status.capabilities if status else frozenset()):
        return Trace.SEND_AGAIN
    return (
        Trace.NONE_YET if status is not None and would_tell(intent, status) else Trace.UNTRACEABLE
    )


def would_tell(intent: Intent, status: TenantStatus) -> bool:
    """Whether the status would be another one if the POST had been done."""
    if not status.names_images:
        return False
    return status.image != intent.image or (intent.before_known and status.deploy_id is not None)


def is_ours(intent: Intent, status: TenantStatus, *, unique: bool) -> bool:
    """Whether the status shows what this POST deployed, and not an earlier deploy of that image.

    `unique`: no other run ever deploys an image of this name.
    """
    if status.image != intent.image:
        return False
    if unique or not intent.before_known:
        return unique
    if status.deploy_id is not None and status.deploy_id != intent.previous_deploy_id:
        return True
    return intent.previous_image != intent.image


def is_newer(intent: Intent, status: TenantStatus) -> bool:
    """Whether the status shows a deploy that is not ours and was not there before ours."""
    if not intent.before_known or status.image in (None, intent.image):
        return False
    return status.deploy_id not in (None, intent.previous_deploy_id)


def has_own_tag(run: Run) -> bool:
    """Whether no other run ever deploys an image of the name that this one deploys."""
    request, target = run.plan.request, run.facts.target
    invented = request.tag is None and not request.skip_push
    return invented and target is not None and target.tag == run.plan.tag


def _capabilities(world: World) -> frozenset[str]:
    return world.login.capabilities if world.login else frozenset()


def _found(intent: Intent, status: TenantStatus) -> Deployment:
    return Deployment(
        deploy_status=status.deploy_status,
        url=status.url,
        deploy_id=status.deploy_id,
        how="found",
        previous_deploy_id=intent.previous_deploy_id,
    )


def _overtaken(run: Run, intent: Intent, status: TenantStatus) -> Failure:
    cause = f"the tenant runs {status.image} (deploy {status.deploy_id}), sent after {intent.image}"
    # It may still be done, so nothing new begins beside it.
    how = f"once it is known what became of it: deployer settle {run.id} --as deployed|not-deployed"
    return Failure(phase=State.DEPLOYING, kind=Kind.SUPERSEDED, cause=cause, details=(how,))


def _unknown(intent: Intent, why: Failure) -> Failure:
    told = f"POST deploy of {intent.image}: {why.cause}"
    return replace(why, cause=f"{told}; the status does not tell whether it was done")
