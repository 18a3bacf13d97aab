"""Pure decisions before a run: its name, its tag, and which earlier run is meant."""

import secrets
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import count
from typing import Final

from deployer.failures import Failure, Kind
from deployer.model import Deployment, Revision
from deployer.names import RunId
from deployer.run import DeployRequest, Facts, Outcome, Plan, Run, RunRecord, Settlement
from deployer.states.flow import State

# Crockford's alphabet: no letters that look like digits.
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
UNHEARD_SECONDS: Final = 3600.0


def new_run_id(now: float) -> RunId:
    """An id that sorts by time: ten characters of milliseconds, six of chance."""
    stamp, chance = int(now * 1000), secrets.randbits(30)
    return RunId(_base32(stamp, 10) + _base32(chance, 6))


def _base32(number: int, width: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(width)))


def planned(
    request: DeployRequest, revision: Revision, now: float, taken: AbstractSet[str] = frozenset()
) -> Plan:
    """The plan of a run that starts at `now`, seconds since the epoch; crates come later.

    `taken`: the tags of the tenant's earlier runs. A deploy takes less than a second, so two of
    one commit may begin in the same; the tag of the second names the next one that is free.
    """
    invented = (f"deploy-{second}-{revision.short_sha}" for second in count(int(now)))
    return Plan(
        request=request,
        crates=(),
        tag=request.tag or next(tag for tag in invented if tag not in taken),
        revision=revision,
        key=secrets.token_hex(16),
    )


def unheard(latest: Run | None, plan: Plan, now: float) -> bool:
    """Whether an equal run is done and nobody was told: the process died on its last line."""
    if latest is None or latest.state is not State.DONE or latest.acknowledged:
        return False
    same_inputs = latest.plan.revision.fingerprint == plan.revision.fingerprint
    same_wish = replace(latest.plan.request, new=False) == replace(plan.request, new=False)
    return same_inputs and same_wish and now - latest.updated_at < UNHEARD_SECONDS


def unsettled(run: Run | None) -> Failure | None:
    """Why nothing new may be started beside this run: its POST has no known outcome."""
    if run is None or run.intent is None or run.abandoned:
        return None
    cause = f"run {run.id} sent POST deploy of {run.intent.image}, and no answer is known"
    return Failure(phase=State.DEPLOYING, kind=Kind.POST_OPEN, cause=cause)


def last_deployed(records: Sequence[RunRecord]) -> RunRecord | Failure:
    """The run whose image the tenant runs, as far as this journal knows."""
    found = next(iter(_succeeded(records)), None)
    return found or _no_such_run("no deploy of this tenant has succeeded yet; give --tag")


def rollback_target(records: Sequence[RunRecord], to: str | None) -> RunRecord | Failure:
    """The succeeded run that `to` (run id or tag) names; without it, the one before the current."""
    succeeded = _succeeded(records)
    # One that is not healthy runs, too: it is what a rollback wants to leave.
    current = next((record.run.facts for record in records if _was_sent(record.run.facts)), None)
    if to is not None:
        named = (record for record in succeeded if to in (record.run.id, _tag(record)))
        found = next(named, None)
        if found is None:
            return _no_such_run(f"no succeeded run or tag {to!r} in the history")
        return _indistinct(found, current) or found
    earlier = (
        record
        for record in succeeded
        if current
        and record.run.facts.digest != current.digest
        and not _indistinct(record, current)
    )
    return next(earlier, None) or _no_such_run("there is no earlier image to go back to")


def _was_sent(facts: Facts) -> bool:
    return facts.deployment is not None or facts.failed_updates > 0


def _indistinct(record: RunRecord, current: Facts | None) -> Failure | None:
    """A failure where an image's name means the present one now, and no digest tells them apart."""
    facts = record.run.facts
    if facts.digest is not None or current is None or facts.target != current.target:
        return None
    cause = f"run {record.run.id} recorded no digest, and {facts.target} is the present image"
    return _no_such_run(cause)


def not_resumable(run: Run | None, latest: Run | None) -> Failure | None:
    """Why this run cannot go on; None when it can."""
    if run is None:
        return _no_such_run("there is no run to resume")
    if run.abandoned:
        return _no_such_run(f"run {run.id} was replaced by a newer one")
    if latest is not None and latest.id != run.id:
        cause = (
            f"run {run.id} was followed by {latest.id}; to run its image: rollback --to {run.id}"
        )
        return _no_such_run(cause)
    if run.state is State.DONE and run.acknowledged:
        return _no_such_run(f"nothing to resume: run {run.id} is done")
    return None


def resume_state(run: Run) -> State:
    """The state in which a stored run goes on."""
    if run.state is not State.FAILED:
        return run.state
    if run.plan.request.skip_push:  # it was never in another one
        return State.DEPLOYING
    return run.failure.resume_at if run.failure else State.BUILDING


def settleable(run: Run | None) -> Run | Failure:
    """The run, where its POST got no answer; else why there is nothing that a person could settle."""
    if run is None:
        return _no_such_run("there is no such run")
    if run.abandoned:
        return _no_such_run(f"run {run.id} was replaced by a newer one")
    if run.intent is None:
        return _no_such_run(f"run {run.id} has no POST without an answer: nothing to settle")
    return run


def settled_facts(run: Run, settlement: Settlement) -> Facts:
    """What a person's word leaves in the facts: a deployment that is still to be proven, or none."""
    if settlement is Settlement.NOT_DEPLOYED or run.intent is None:
        return run.facts
    told = Deployment(
        deploy_status=settlement,
        url=None,
        how="told",
        previous_deploy_id=run.intent.previous_deploy_id,
    )
    return replace(run.facts, deployment=told)


def _succeeded(records: Sequence[RunRecord]) -> list[RunRecord]:
    return [record for record in records if record.outcome is Outcome.SUCCEEDED]


def _tag(record: RunRecord) -> str | None:
    return record.run.facts.target.tag if record.run.facts.target else None


def _no_such_run(cause: str) -> Failure:
    return Failure(phase=State.DEPLOYING, kind=Kind.NO_SUCH_RUN, cause=cause)
