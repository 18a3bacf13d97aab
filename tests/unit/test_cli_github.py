"""What GitHub's runner is told."""

from pathlib import Path

from deployer.cli import github
from deployer.cli.report import Report
from deployer.failures import Failure, Kind
from deployer.run import Phase
from deployer.states.flow import State

EVIL = "100%: a,b\n::set-output name=x::y `code` ##[add-mask]z"


def failed(cause: str) -> Report:
    failure = Failure(phase=State.PUSHING, kind=Kind.REGISTRY_AUTH, cause=cause)
    return Report(
        exit_code=13, run="r", state=State.FAILED, failure=failure, resume="deployer resume r"
    )


def test_an_annotation_stays_one_line_with_what_to_do() -> None:
    line = github.annotation(failed("unauthorized"))

    assert line == (
        "::error title=deployer P01 Pushing::"
        "unauthorized. Check credentials, re-login. Next: deployer resume r"
    )


def test_foreign_text_cannot_leave_the_annotation() -> None:
    line = github.annotation(failed(EVIL)) or ""

    assert "\n" not in line
    assert "100%25: a,b%0A::set-output" in line


def test_a_success_has_no_annotation() -> None:
    assert github.annotation(Report(exit_code=0)) is None


def test_a_value_cannot_set_another_output(tmp_path: Path) -> None:
    path = tmp_path / "output"
    report = Report(exit_code=0, run="r", url="https://x\nimage=evil")

    github.publish(report, {"GITHUB_OUTPUT": str(path)})

    assert path.read_text() == "run=r\nurl=https://x image=evil\n"


def test_the_summary_is_short_and_shows_foreign_text_as_code(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    phases = tuple(Phase(state=state, seconds=1.0, entered=1) for state in State)

    github.publish(failed(EVIL.replace("\n", " ")), {"GITHUB_STEP_SUMMARY": str(path)})
    github.publish(Report(exit_code=0, phases=phases), {"GITHUB_STEP_SUMMARY": str(path)})

    lines = path.read_text().splitlines()
    assert len(lines) <= 15
    assert all(line.count("`") in (0, 2) for line in lines)


def test_a_file_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    github.publish(Report(exit_code=0, run="r"), {"GITHUB_OUTPUT": str(tmp_path)})
