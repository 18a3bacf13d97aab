"""What a command came to: one shape for the JSON document, the closing lines and the exit code."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.cli.interrupts import interrupted_code
from deployer.errors import BusyError, JournalError, SupersededError
from deployer.failures import ExitCode, Failure, Kind, exit_code
from deployer.run import Outcome, Phase, RunRecord
from deployer.settings.values import Refusal
from deployer.states.flow import State

if TYPE_CHECKING:
    from deployer.result import DeployResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How it ended, as far as the journal knows."""

    exit_code: int
    run: str | None = None  # None: no run was started
    tenant: str | None = None
    state: State | None = None
    failure: Failure | None = None
    refusals: tuple[Refusal, ...] = ()  # of the configuration, one line each
    image: str | None = None
    digest: str | None = None
    url: str | None = None
    deploy_status: str | None = None
    health: str | None = None
    resume: str | None = None  # the command that goes on
    phases: tuple[Phase, ...] = ()
    found_finished: bool = False
    signal: int | None = None  # what stopped it

    @property
    def done(self) -> bool:
        """Whether the image runs, as far as was asked."""
        return self.state is State.DONE and self.failure is None

    @property
    def failed_in(self) -> State | None:
        """The state in which a run stopped."""
        return self.failure.phase if self.failure and self.run else None


def of_result(result: "DeployResult") -> Report:
    """The report of a run that the library carried to its end, or did not start."""
    return Report(
        exit_code=result.exit_code,
        run=result.run_id,
        tenant=result.tenant,
        state=None if result.refused else result.state,
        failure=result.failure,
        image=result.image,
        digest=result.digest,
        url=result.url,
        deploy_status=result.deploy_status,
        health=result.health,
        resume=result.resume_command,
        phases=result.phases,
        found_finished=result.found_finished,
    )


def of_refusals(refusals: tuple[Refusal, ...]) -> Report:
    """The report of a command whose configuration cannot be used."""
    failure = refusals[0].failure
    return Report(exit_code=exit_code(failure), failure=failure, refusals=refusals)


def of_error(
    error: BusyError | SupersededError | JournalError, tenant: str | None, run: str | None = None
) -> Report:
    """The report of a command that met another process, or a journal that cannot be used."""
    failure = _failure(error)
    return Report(exit_code=exit_code(failure), run=run, tenant=tenant, failure=failure)


def _failure(error: BusyError | SupersededError | JournalError) -> Failure:
    match error:
        case BusyError():
            return Failure(phase=State.BUILDING, kind=Kind.RUN_BUSY, cause=str(error))
        case SupersededError():
            cause = str(error) or "another process took this run over"
            return Failure(phase=State.DEPLOYING, kind=Kind.SUPERSEDED, cause=cause)
        case JournalError():
            return error.failure


def of_interruption(number: int, record: RunRecord | None) -> Report:
    """The report of a run that a signal stopped, as the journal holds it now.

    `record` is None when the signal came before a run was started.
    """
    if record is None:
        return Report(exit_code=interrupted_code(number), signal=number)
    if record.outcome is Outcome.SUCCEEDED:
        return of_record(record, ExitCode.DONE)
    if record.run.failure is not None:
        return of_record(record, exit_code(record.run.failure), signal=number)
    # The POST may have been carried out: whoever sees the code has to look first.
    unknown = record.outcome is Outcome.UNKNOWN
    return of_record(
        record, ExitCode.UNKNOWN if unknown else interrupted_code(number), signal=number
    )


def of_record(record: RunRecord, code: int, *, signal: int | None = None) -> Report:
    """The report of a stored run."""
    run, deployment = record.run, record.run.facts.deployment
    return Report(
        exit_code=code,
        run=run.id,
        tenant=run.plan.request.tenant,
        state=run.state,
        failure=run.failure,
        image=record.image,
        digest=run.facts.digest,
        url=deployment.url if deployment else None,
        deploy_status=deployment.deploy_status if deployment else None,
        health=deployment.health if deployment else None,
        resume=resume_command(record),
        phases=record.phases,
        signal=signal,
    )


def resume_command(record: RunRecord) -> str | None:
    """The command that goes on with a stored run; None where none can."""
    failure = record.run.failure
    if failure is not None and failure.kind is Kind.LOOPING:
        return None
    open_outcomes = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.INTERRUPTED)
    return f"deployer resume {record.run.id}" if record.outcome in open_outcomes else None
