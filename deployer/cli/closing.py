"""The end of a command that started a run, or would have: the same words in every display."""

from deployer.cli import document, github, wording
from deployer.cli.program import Program
from deployer.cli.report import Report


def close(program: Program, report: Report) -> int:
    """Show how it ended, on stderr for people and on stdout for programs; return the exit code."""
    on_github = github.runs_here(program.environ)
    for text, style in wording.closing(report):
        program.err.line(github.foreign(text) if on_github else text, style)
    if on_github:
        _publish(program, report)
    if program.json:
        program.out.line(document.encode(document.of_report(report)))
    elif report.done and report.url:
        program.out.line(report.url)
    return report.exit_code


def _publish(program: Program, report: Report) -> None:
    annotation = github.annotation(report)
    if annotation:
        program.err.line(annotation)
    github.publish(report, program.environ)
