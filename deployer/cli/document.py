"""The JSON documents: a versioned shape, the same for success, failure, wrong usage and bugs."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from deployer.cli.report import Report, resume_command
from deployer.doctor.finding import Finding, Level
from deployer.failures import ExitCode, Failure
from deployer.run import Phase, RunRecord
from deployer.settings.values import Refusal

if TYPE_CHECKING:
    from deployer.preflight import Preflight

VERSION: Final = 1  # rises when a key changes its meaning or goes; new keys may come any time

Document = Mapping[str, Any]


def encode(document: Document) -> str:
    """One line of JSON in ASCII: a name that is no valid text cannot break it."""
    return json.dumps({"v": VERSION, **document}, allow_nan=False)


def of_report(report: Report) -> Document:
    """A deploy, resume or rollback, however it ended."""
    return {
        "run": report.run,
        "tenant": report.tenant,
        "state": report.state,
        "failed_in": report.failed_in,
        "exit_code": report.exit_code,
        "failure": of_failure(report.failure, report.refusals) if report.failure else None,
        "image": report.image,
        "digest": report.digest,
        "url": report.url,
        "deploy_status": report.deploy_status,
        "health": report.health,
        "resume": report.resume,
        "found_finished": report.found_finished,
        "signal": report.signal,
        "phases": of_phases(report.phases),
    }


def of_failure(failure: Failure, refusals: Sequence[Refusal] = ()) -> Document:
    """A failure with its row of the catalogue."""
    kind = failure.kind
    return {
        "id": kind.id,
        "kind": kind.name.lower(),
        # What concerns the tool itself has a phase for its type's sake only.
        "phase": None if kind.id.startswith("T") else failure.phase,
        "retriable": kind.retriable,
        "resolution": kind.resolution,
        "cause": failure.cause,
        "details": list(failure.details or (str(refusal) for refusal in refusals)),
        "http_status": failure.http_status,
        "request_id": failure.request_id,
        "retry_after": failure.retry_after,
    }


def of_phases(phases: Sequence[Phase]) -> list[Document]:
    """What each state took."""
    return [
        {
            "state": phase.state,
            "seconds": round(phase.seconds, 3),
            "entered": phase.entered,
            "skipped": phase.entered == 0,
        }
        for phase in phases
    ]


def of_usage(message: str, resolution: str, code: int = ExitCode.USAGE) -> Document:
    """Wrong usage, in the keys of a failure: no row of the catalogue, nothing was started."""
    return {
        "run": None,
        "state": None,
        "failed_in": None,
        "exit_code": code,
        "failure": {
            "id": None,
            "kind": "usage",
            "phase": None,
            "retriable": False,
            "resolution": resolution,
            "cause": message,
            "details": [],
        },
    }


def of_text(text: str, code: int) -> Document:
    """What a command printed for people: the help, or a list of first commands."""
    return {"exit_code": code, "text": text}


def of_preflight(report: "Preflight", code: int) -> Document:
    """What a deploy would do."""
    failure = report.failure
    return {
        "run": None,
        "tenant": report.request.tenant,
        "dry_run": True,
        "exit_code": code,
        "failure": of_failure(failure) if failure else None,
        "image": str(report.target) if report.target else None,
        "git_sha": report.revision.short_sha,
        "dirty": report.revision.dirty,
        "checks": of_findings(report.checks),
        "warnings": list(report.warnings),
    }


def of_doctor(findings: Sequence[Finding], code: int) -> Document:
    """Everything that was looked at."""
    return {
        "exit_code": code,
        "failed": sum(finding.level is Level.FAIL for finding in findings),
        "warned": sum(finding.level is Level.WARN for finding in findings),
        "checks": of_findings(findings),
    }


def of_findings(findings: Sequence[Finding]) -> list[Document]:
    """Checks, one by one."""
    return [
        {
            "name": finding.name,
            "level": finding.level,
            "ok": finding.ok,
            "text": finding.text,
            "remedy": finding.remedy,
            "failure": of_failure(finding.failure) if finding.failure else None,
        }
        for finding in findings
    ]


def of_record(record: RunRecord) -> Document:
    """One run of the history."""
    run = record.run
    plan, deployment = run.plan, run.facts.deployment
    return {
        "run": run.id,
        "tenant": plan.request.tenant,
        "outcome": record.outcome,
        "state": run.state,
        "failed_in": run.failure.phase if run.failure else None,
        "opened_at": run.opened_at,
        "updated_at": run.updated_at,
        "tag": plan.tag,
        "image": record.image,
        "digest": run.facts.digest,
        "git_sha": plan.revision.short_sha,
        "dirty": plan.revision.dirty,
        "profile": plan.request.profile,
        "message": plan.request.message,
        "deploy_status": deployment.deploy_status if deployment else None,
        "url": deployment.url if deployment else None,
        "failure": of_failure(run.failure) if run.failure else None,
        "resumes": run.resumes,
        "resume": resume_command(record),
        "phases": of_phases(record.phases),
    }


def of_events(record: RunRecord) -> list[Document]:
    """The stored events of a run, oldest first."""
    return [
        {"seq": event.seq, "at": event.at, "type": event.kind, "state": event.state, **event.data}
        for event in record.events
    ]
