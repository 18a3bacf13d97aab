"""`deployer doctor`: words, document and exit code, also where the settings are refused."""

import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from deployer.failures import Failure, Kind
from deployer.states.flow import State
from tests.fakes.cli import TENANT, CommandLine, jwt, scrubbed


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    line = CommandLine(tmp_path)
    (tmp_path / ".systemprompt/credentials.json").chmod(0o600)
    return line


def by_level(document: dict[str, Any], level: str) -> list[dict[str, Any]]:
    return [check for check in document["checks"] if check["level"] == level]


def test_a_healthy_project_exits_0_and_says_how_much_was_looked_at(cli: CommandLine) -> None:
    answer = cli.run("doctor", "--tenant", TENANT)

    assert answer.code == 0
    assert "  ok     engine: Docker Engine 20.10\n" in answer.out
    assert answer.out.splitlines()[-1].startswith("0 failed, 0 warned, ")
    assert scrubbed(answer.out + answer.err)


def test_a_failed_check_shows_id_and_remedy_and_exits_3(cli: CommandLine) -> None:
    down = Failure(phase=State.IMAGING, kind=Kind.ENGINE_DOWN, cause="no socket")
    cli.neighbours.fails = {"ping": deque([down])}

    answer = cli.run("doctor", "--tenant", TENANT)

    assert answer.code == 3
    assert f"  FAILED engine: I01 no socket: {down.resolution}\n" in answer.out


def test_json_has_each_check_with_level_and_remedy(cli: CommandLine) -> None:
    cli.neighbours.git = None

    answer = cli.run("doctor", "--tenant", TENANT, "--json")

    document = answer.document
    assert (document["exit_code"], document["failed"], document["warned"]) == (0, 0, 1)
    [warned] = by_level(document, "warn")
    assert warned["name"] == "git"
    assert warned["remedy"]
    assert all(
        {"name", "level", "ok", "text", "remedy", "failure"} <= set(each)
        for each in document["checks"]
    )


def test_refused_settings_are_all_told_and_the_rest_is_looked_at(cli: CommandLine) -> None:
    home = cli.root / ".systemprompt"
    (home / "credentials.json").write_text("{")
    (home / "tenants.json").write_text("[]")
    (cli.root / "deployer.toml").write_text("[deploi]\n")

    answer = cli.run("doctor", "--json")

    document = answer.document
    assert answer.code == 3
    refused = [check["text"] for check in by_level(document, "fail")]
    assert len(refused) == 4  # the three files, and that no tenant is named
    assert all(
        any(name in text for text in refused)
        for name in ("credentials", "tenants", "deployer.toml")
    )
    assert {"cargo", "engine", "context"} <= {check["name"] for check in document["checks"]}
    assert [check["name"] for check in by_level(document, "skipped")] == ["Management API"]
    assert "login" not in cli.neighbours.calls


def test_outside_a_project_there_is_one_finding(tmp_path: Path) -> None:
    elsewhere = tmp_path / "project"
    elsewhere.mkdir()
    cli = CommandLine(elsewhere)
    outside = tmp_path / "outside"
    outside.mkdir()

    answer = cli.run("-C", str(outside), "doctor", "--json")

    assert answer.code == 3
    assert [check["name"] for check in answer.document["checks"]] == ["settings"]


def test_a_login_that_others_can_read_is_a_warning(cli: CommandLine) -> None:
    (cli.root / ".systemprompt/credentials.json").chmod(0o644)

    answer = cli.run("doctor", "--tenant", TENANT, "--json")

    [warned] = by_level(answer.document, "warn")
    assert (warned["name"], warned["text"]) == ("credentials.json", "mode 0644")


def test_a_broken_profile_is_told_though_another_is_chosen(cli: CommandLine) -> None:
    broken = cli.root / ".systemprompt/profiles/old"
    broken.mkdir(parents=True)
    (broken / "profile.yaml").write_text("a: [")

    answer = cli.run("doctor", "--tenant", TENANT, "--json")

    assert [check["name"] for check in by_level(answer.document, "warn")] == ["profile old"]


def test_doctor_makes_no_run(cli: CommandLine) -> None:
    cli.run("doctor", "--tenant", TENANT)

    assert json.loads(cli.run("history", "--json").out)["runs"] == []
    assert "compile" not in cli.neighbours.calls


@pytest.mark.parametrize(
    ("command", "code"),
    [("doctor", 0), ("deploy --dry-run", 0), ("deploy --skip-push --dry-run", 3)],
)
def test_a_look_makes_no_journal_and_no_folder_for_it(
    cli: CommandLine, command: str, code: int
) -> None:
    answer = cli.run(*command.split(), "--tenant", TENANT)

    assert answer.code == code
    assert not cli.state_dir.exists()


def test_a_look_without_a_place_for_the_journal_puts_none_into_the_project(
    cli: CommandLine,
) -> None:
    answer = cli.run("doctor", "--tenant", TENANT, knows_place=False)

    assert answer.code == 3
    assert "there is no directory for the journal" in answer.out
    assert not list(cli.root.rglob("journal*"))


def test_a_dry_run_refuses_what_a_deploy_could_not_write_to(cli: CommandLine) -> None:
    cli.state_dir.mkdir()
    (cli.state_dir / "journal.sqlite").write_bytes(b"")

    dry = cli.run("deploy", "--tenant", TENANT, "--dry-run", "--json")
    looked = cli.run("doctor", "--tenant", TENANT, "--json")

    assert dry.code == looked.code == 3
    assert dry.document["failure"]["id"] == "T06"
    assert [check["name"] for check in by_level(looked.document, "fail")] == ["journal"]


def test_a_folder_that_cannot_be_made_is_told_beforehand(cli: CommandLine) -> None:
    cli.state_dir.write_text("a file where the folder should be")

    answer = cli.run("deploy", "--tenant", TENANT, "--dry-run", "--json")

    assert answer.code == 3
    assert answer.document["failure"]["id"] == "T07"


@pytest.mark.parametrize("url", ["https://a..b", "https://ä.invalid", f"https://{'a' * 300}.b"])
def test_a_mistyped_api_url_is_refused_with_its_variable(cli: CommandLine, url: str) -> None:
    environ = {"SYSTEMPROMPT_API_URL": url, "SYSTEMPROMPT_API_TOKEN": jwt()}

    answer = cli.run("doctor", "--tenant", TENANT, "--json", environ=environ)
    deploy = cli.run("deploy", "--tenant", TENANT, "--json", environ=environ)

    [refused] = by_level(answer.document, "fail")
    assert answer.code == deploy.code == 3
    assert "SYSTEMPROMPT_API_URL" in refused["text"]
    assert deploy.document["failure"]["id"] == "T20"
    assert len(answer.document["checks"]) > 10
