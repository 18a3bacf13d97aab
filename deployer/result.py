"""What a caller gets back from a deploy."""

from dataclasses import dataclass
from typing import Self

from deployer.errors import DeployError
from deployer.failures import ExitCode, Failure, Kind, exit_code
from deployer.names import Digest, RunId
from deployer.run import Phase, Run
from deployer.states.flow import State


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployResult:
    """How a deploy ended. A failed deploy is a result, not an exception."""

    tenant: str
    run_id: RunId | None  # None: refused before a run was started
    state: State  # Done or Failed; the state it stands in when it was refused
    failure: Failure | None = None
    image: str | None = None  # registry/repository:tag
    digest: Digest | None = None
    url: str | None = None
    deploy_status: str | None = None  # the server's word
    health: str | None = None  # the public URL's word
    phases: tuple[Phase, ...] = ()
    found_finished: bool = False  # an equal run was done already, and nobody had heard of it

    @property
    def refused(self) -> bool:
        """Whether nothing was started."""
        return self.run_id is None

    @property
    def exit_code(self) -> int:
        """The command line's exit code, from what the journal holds."""
        if self.failure is None:
            return ExitCode.DONE
        if self.refused and not self.failure.outcome_unknown:
            return ExitCode.REFUSED
        return exit_code(self.failure)

    @property
    def resume_command(self) -> str | None:
        """The command that goes on; None when there is nothing to go on with."""
        if self.failure is None or self.run_id is None or self.failure.kind is Kind.LOOPING:
            return None
        return f"deployer resume {self.run_id}"

    def raise_for_failure(self) -> Self:
        """Return self, or raise DeployError."""
        if self.failure is not None:
            raise DeployError(self.failure)
        return self


def result_of(
    run: Run, phases: tuple[Phase, ...] = (), *, found_finished: bool = False
) -> DeployResult:
    """The result of a stored run."""
    facts, deployment = run.facts, run.facts.deployment
    return DeployResult(
        tenant=run.plan.request.tenant,
        run_id=run.id,
        state=run.state,
        failure=run.failure,
        image=str(facts.target) if facts.target else None,
        digest=facts.digest,
        url=deployment.url if deployment else None,
        deploy_status=deployment.deploy_status if deployment else None,
        health=deployment.health if deployment else None,
        phases=phases,
        found_finished=found_finished,
    )
