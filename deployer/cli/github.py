"""GitHub Actions: groups, one annotation, the step's outputs and a short summary."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from deployer.cli.report import Report
from deployer.cli.wording import duration

SUMMARY_LINES: Final = 15


def runs_here(environ: Mapping[str, str]) -> bool:
    """Whether a workflow's runner reads our output."""
    return environ.get("GITHUB_ACTIONS") == "true"


def foreign(text: str) -> str:
    """`text` without the mark that the runner obeys anywhere in a line."""
    # `::name::` is only a command at a line's start, and no line of ours starts with foreign text.
    return text.replace("##[", "## [")


def group(name: str) -> str:
    """The line that opens a collapsible group."""
    return f"::group::deployer: {_data(name)}"


END_GROUP: Final = "::endgroup::"


def annotation(report: Report) -> str | None:
    """The line that shows a failure beside the workflow; None for a success."""
    failure = report.failure
    if failure is None:
        return None
    phase = f" {failure.phase.title}" if report.run else ""
    title = _property(f"deployer {failure.kind.id}{phase}")
    text = f"{failure.cause}. {failure.kind.resolution}."
    again = f" Next: {report.resume}" if report.resume else ""
    return f"::error title={title}::{_data(text + again)}"


def publish(report: Report, environ: Mapping[str, str]) -> None:
    """Write the step's outputs and its summary, where the runner asked for them."""
    _append(environ.get("GITHUB_OUTPUT"), _outputs(report))
    _append(environ.get("GITHUB_STEP_SUMMARY"), _summary(report))


def _outputs(report: Report) -> list[str]:
    values = {"run": report.run, "image": report.image, "digest": report.digest, "url": report.url}
    # A value with a newline could set outputs of its own.
    return [f"{key}={' '.join(value.split())}" for key, value in values.items() if value]


def _summary(report: Report) -> list[str]:
    state = report.state.title if report.state else "not started"
    lines = [f"### deployer: {state}", ""]
    lines += [f"- {name}: {_code(value)}" for name, value in _facts(report) if value]
    took = [f"{phase.state} {duration(phase.seconds)}" for phase in report.phases if phase.entered]
    if took:
        lines.append(f"- time: {', '.join(took)}")
    return lines[:SUMMARY_LINES]


def _facts(report: Report) -> tuple[tuple[str, str | None], ...]:
    failure = report.failure
    return (
        ("url", report.url),
        ("image", report.image),
        ("digest", report.digest),
        ("failure", f"{failure.kind.id} {failure.cause}" if failure else None),
        ("what to do", failure.kind.resolution.replace("`", "") if failure else None),
        ("next", report.resume),
    )


def _code(text: str) -> str:
    """Foreign text as code: it must not become a link or a picture."""
    return f"`{text.replace('`', chr(39))}`"


def _append(path: str | None, lines: list[str]) -> None:
    if not path:
        return
    # A runner's missing file is no reason to fail a deploy that is over.
    with suppress(OSError), Path(path).open("a", encoding="utf-8", errors="replace") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
