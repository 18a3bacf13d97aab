"""Deploying: the Management API runs the image, once, and the run proves that it runs."""

from dataclasses import replace
from typing import Final

from deployer.failures import Failure, Kind
from deployer.model import Deployment, TenantStatus
from deployer.run import Facts, Intent, Run, StateOutcome, Step
from deployer.states.flow import Event, State
from deployer.states.grace import with_grace
from deployer.states.proving import prove
from deployer.states.settling import settle
from deployer.states.verifying import verified
from deployer.states.world import World

# A cancelled run lets an unanswered POST go on for so long: most answers come within a second, and
# an answer that was read saves the next process from settling it.
POST_GRACE_SECONDS: Final = 2.0


async def deploying(run: Run, world: World) -> StateOutcome:
    """Deploy exactly the digest that was pushed; never POST twice for one answer."""
    facts = await verified(run, world)
    if not isinstance(facts, Facts):
        return facts
    facts = await posted(run, facts, world)
    if isinstance(facts, Failure):
        return facts
    proven = await prove(run, facts, world)
    if isinstance(proven, Failure):
        return proven
    return Step(Event.DEPLOYED, replace(facts, deployment=proven))


async def posted(run: Run, facts: Facts, world: World) -> Facts | Failure:
    """The facts with the server's answer in them: the stored one, the settled one, or a new one."""
    if facts.deployment is not None:
        return facts
    if run.intent is not None:
        settled = await _settled(run, run.intent, facts, world)
        if settled is not None:
            return settled
    return await post(run, facts, world)


async def post(run: Run, facts: Facts, world: World) -> Facts | Failure:
    """Store the intent, send the POST, store its answer."""
    intent = await next_intent(run, facts, world)
    await world.intend(intent)
    result: Facts | Failure = Failure(
        phase=State.DEPLOYING, kind=Kind.OUTCOME_UNKNOWN, cause="cancelled before an answer came"
    )

    async def send() -> None:
        nonlocal result
        tenant = run.plan.request.tenant
        answer = await world.api.deploy(tenant, intent.image, intent.key)
        after = _after(facts, intent, answer)
        result = answer if isinstance(answer, Failure) else after
        if is_settled_by(answer, run.intent):
            await world.answered(after)

    await with_grace(send, POST_GRACE_SECONDS)
    if isinstance(result, Failure) and result.outcome_unknown:
        # At once, before the run is left to a later process.
        settled = await _settled(run, intent, facts, world, result)
        if settled is not None:
            return settled
        return await post(replace(run, intent=intent), facts, world)
    return result


async def _settled(
    run: Run, intent: Intent, facts: Facts, world: World, unknown: Failure | None = None
) -> Facts | Failure | None:
    """What became of an unanswered POST: the facts with its answer, stored; None: nothing."""
    found = await settle(run, intent, world, unknown)
    if not isinstance(found, Deployment):
        return found
    answered = replace(facts, deployment=found)
    await world.answered(answered)
    return answered


def is_settled_by(answer: Deployment | Failure, earlier: Intent | None) -> bool:
    """Whether this answer tells what became of each POST of the run so far.

    A refusal says that this one did nothing; an `earlier` one without an answer may still do its
    work, and the server may refuse this one for that very reason.
    """
    if isinstance(answer, Deployment) or answer.kind is Kind.UPDATE_FAILED:
        return True
    is_open = answer.outcome_unknown or answer.kind is Kind.KEY_IN_PROGRESS
    return not is_open and earlier is None


def _after(facts: Facts, intent: Intent, answer: Deployment | Failure) -> Facts:
    """What an answer leaves in the facts."""
    if isinstance(answer, Deployment):
        deployment = replace(answer, previous_deploy_id=intent.previous_deploy_id)
        return replace(facts, deployment=deployment)
    # A server that honours the key replays a failed update for ever: the next try needs another.
    return replace(facts, failed_updates=facts.failed_updates + (answer.kind is Kind.UPDATE_FAILED))


async def next_intent(run: Run, facts: Facts, world: World) -> Intent:
    """What is about to be sent, and what the tenant ran before it."""
    before = await world.api.status(run.plan.request.tenant)
    known = before if isinstance(before, TenantStatus) else None
    suffix = f"-{facts.failed_updates + 1}" if facts.failed_updates else ""
    return Intent(
        attempt=(run.intent.attempt if run.intent else 0) + 1,
        key=run.plan.key + suffix,
        image=str(facts.target),
        previous_image=known.image if known else None,
        previous_deploy_id=known.deploy_id if known else None,
        before_known=known is not None,
        digest=facts.digest,
    )
