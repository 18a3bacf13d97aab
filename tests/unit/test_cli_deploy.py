"""deploy, resume, rollback and the journal's commands: the real library, in-memory neighbours."""

import io
import json
import os
import signal
from collections import deque
from pathlib import Path

import pytest

from deployer import history
from deployer.adapters.journal.lock import locked
from deployer.adapters.journal.reader import lock_path
from deployer.cli.interrupts import kept_handlers
from deployer.failures import Failure, Kind
from deployer.model import Crate
from deployer.states.flow import State
from tests.fakes.cli import TENANT, CommandLine, jwt, scrubbed
from tests.fakes.deployers import API
from tests.fakes.neighbours import Neighbours

URL = "https://app.example"
DEPLOY = ("deploy", "--tenant", TENANT)


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def fails(cli: CommandLine, call: str, kind: Kind, phase: State) -> None:
    failure = Failure(phase=phase, kind=kind, cause="the other side's words", details=("line 1",))
    cli.neighbours.fails[call] = deque([failure] * 20)


class Stopped(Neighbours):
    """Neighbours that are interrupted in the call that they hang in."""

    number: int = signal.SIGINT

    async def _called(self, name: str) -> Failure | None:
        if self.hang_in == name:
            os.kill(os.getpid(), self.number)
        return await super()._called(name)


# -- deploy


def test_a_deploy_prints_its_url_alone_on_stdout_and_exits_0(cli: CommandLine) -> None:
    answer = cli.run(*DEPLOY, "--tag", "v1")

    assert (answer.code, answer.out) == (0, f"{URL}\n")
    assert "done: registry.fly.io/sp-ten-1:v1 is deployed (running, healthy)" in answer.err
    assert cli.neighbours.deployed == ["registry.fly.io/sp-ten-1:v1"]


def test_the_talk_of_a_deploy_has_a_line_for_each_state(cli: CommandLine) -> None:
    talk = cli.run(*DEPLOY).err

    for state in ("building", "imaging", "authenticating", "pushing", "deploying"):
        assert f" {state} " in talk
    assert "\x1b" not in talk


def test_quiet_leaves_the_end_only(cli: CommandLine) -> None:
    answer = cli.run(*DEPLOY, "-q")

    assert answer.out == f"{URL}\n"
    assert len(answer.err.splitlines()) == 1


def test_json_gives_one_document_on_stdout_and_talk_on_stderr(cli: CommandLine) -> None:
    answer = cli.run(*DEPLOY, "--tag", "v1", "--json")

    document = answer.document
    assert answer.out.count("\n") == 1
    assert (document["v"], document["exit_code"], document["state"]) == (1, 0, "done")
    assert document["image"] == "registry.fly.io/sp-ten-1:v1"
    assert document["digest"].startswith("sha256:")
    assert document["url"] == URL
    assert document["failure"] is None
    assert [phase["state"] for phase in document["phases"]] == [
        "building",
        "imaging",
        "authenticating",
        "pushing",
        "deploying",
    ]
    assert "done: " in answer.err


def test_a_failure_shows_phase_id_cause_resolution_and_the_command_that_goes_on(
    cli: CommandLine,
) -> None:
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)

    answer = cli.run(*DEPLOY)

    run = history.runs(cli.state_dir, None, TENANT, 1)[0].run
    assert answer.code == 13
    assert answer.out == ""
    assert "Pushing failed: P01 the other side's words" in answer.err
    assert "\n  Check credentials, re-login\n" in answer.err
    assert f"next: deployer resume {run.id}" in answer.err
    assert "  | line 1" in answer.err


def test_a_failure_s_document_has_the_catalogue_s_row(cli: CommandLine) -> None:
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)

    document = cli.run(*DEPLOY, "--json").document

    assert (document["exit_code"], document["state"], document["failed_in"]) == (
        13,
        "failed",
        "pushing",
    )
    assert document["failure"]["id"] == "P01"
    assert document["failure"]["kind"] == "registry_auth"
    assert document["failure"]["resolution"] == "Check credentials, re-login"
    assert document["failure"]["retriable"] is False
    assert document["failure"]["details"] == ["line 1"]
    assert document["resume"] == f"deployer resume {document['run']}"


def test_a_preflight_failure_starts_nothing_and_exits_3(cli: CommandLine) -> None:
    fails(cli, "ping", Kind.ENGINE_DOWN, State.IMAGING)

    answer = cli.run(*DEPLOY, "--json")

    assert answer.code == answer.document["exit_code"] == 3
    assert answer.document["run"] is None
    assert "not started: I01" in answer.err
    assert "compile" not in cli.neighbours.calls


def test_a_configuration_refusal_is_shown_and_given_as_json(cli: CommandLine) -> None:
    answer = cli.run("deploy", "--tenant", "nosuch", "--json")

    assert answer.code == 3
    assert answer.document["failure"]["id"] == "T20"
    assert answer.document["failure"]["kind"] == "configuration"
    assert "unknown tenant 'nosuch'" in answer.document["failure"]["cause"]
    assert answer.err.startswith("deployer: unknown tenant 'nosuch'")
    assert cli.settings is None


def test_an_app_id_outside_the_grammar_is_refused_with_its_key(cli: CommandLine) -> None:
    tenants = {"tenants": [{"id": TENANT, "app_id": "../../x"}]}
    (cli.root / ".systemprompt/tenants.json").write_text(json.dumps(tenants))

    answer = cli.run(*DEPLOY)

    assert answer.code == 3
    assert "key app_id of ten_1" in answer.err


def test_the_options_reach_the_library(cli: CommandLine) -> None:
    cli.run(
        *DEPLOY, "--no-wait", "--wait-timeout", "1m", "--message", "why", "--registry-host", "r:1"
    )

    request = history.runs(cli.state_dir, None, TENANT, 1)[0].run.plan.request
    assert (request.wait.wait, request.wait.timeout, request.message) == (False, 60, "why")
    assert cli.settings is not None
    assert cli.settings.registry_hosts == {"r:1"}


def test_each_long_option_has_its_variable(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOYER_TENANT", TENANT)
    monkeypatch.setenv("DEPLOYER_WAIT_TIMEOUT", "90s")
    monkeypatch.setenv("DEPLOYER_SKIP_PUSH", "1")
    monkeypatch.setenv("DEPLOYER_TAG", "by-variable")
    cli.neighbours.manifests["registry.fly.io/sp-ten-1:by-flag"] = "sha256:" + "1" * 64  # type: ignore[assignment]

    cli.run("deploy", "--tag", "by-flag")

    request = history.runs(cli.state_dir, None, TENANT, 1)[0].run.plan.request
    assert (request.tag, request.skip_push, request.wait.timeout) == ("by-flag", True, 90)


def test_a_result_is_acknowledged_after_it_was_shown(cli: CommandLine) -> None:
    cli.run(*DEPLOY)

    assert history.runs(cli.state_dir, None, TENANT, 1)[0].run.acknowledged


def test_a_result_that_nobody_could_read_is_not_acknowledged_and_told_again(
    cli: CommandLine,
) -> None:
    out, err = io.StringIO(), io.StringIO()
    out.close()
    err.close()

    deaf = cli.run(*DEPLOY, out=out, err=err)
    again = cli.run(*DEPLOY)

    assert (deaf.code, again.code) == (0, 0)
    assert "had finished already" in again.err
    assert again.out == f"{URL}\n"
    assert len(cli.neighbours.deployed) == 1


def test_a_dry_run_shows_the_plan_and_does_nothing(cli: CommandLine) -> None:
    answer = cli.run(*DEPLOY, "--tag", "v1", "--dry-run")

    assert answer.code == 0
    assert "image    registry.fly.io/sp-ten-1:v1" in answer.out
    assert "ok     engine: Docker Engine 20.10" in answer.out
    assert "nothing was changed" in answer.out
    assert "compile" not in cli.neighbours.calls
    assert history.runs(cli.state_dir, None, TENANT, 1) == ()


def test_a_dry_run_that_finds_a_failure_exits_3(cli: CommandLine) -> None:
    fails(cli, "ping", Kind.ENGINE_DOWN, State.IMAGING)

    answer = cli.run(*DEPLOY, "--dry-run", "--json")

    assert answer.code == answer.document["exit_code"] == 3
    assert answer.document["failure"]["id"] == "I01"
    assert {check["name"]: check["ok"] for check in answer.document["checks"]}["engine"] is False


def test_github_gets_groups_an_annotation_outputs_and_a_short_summary(
    cli: CommandLine, tmp_path: Path
) -> None:
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    good = cli.run(*DEPLOY, "--tag", "v1", environ=environ)
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)
    bad = cli.run(*DEPLOY, environ=environ)

    assert good.err.count("::group::deployer: ") == good.err.count("::endgroup::") == 5
    assert "::error" not in good.err
    assert "::error title=deployer P01 Pushing::the other side's words." in bad.err
    outputs = dict(
        line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines()[:4]
    )
    assert outputs["image"] == "registry.fly.io/sp-ten-1:v1"
    assert outputs["url"] == URL
    assert len((tmp_path / "summary").read_text().splitlines()) <= 2 * 15


def test_github_gets_an_annotation_for_a_refusal_too(cli: CommandLine) -> None:
    answer = cli.run("deploy", "--tenant", "nosuch", environ={"GITHUB_ACTIONS": "true"})

    assert "::error title=deployer T20::unknown tenant 'nosuch'" in answer.err


def test_foreign_words_at_the_end_cannot_command_the_runner(cli: CommandLine) -> None:
    failure = Failure(
        phase=State.PUSHING, kind=Kind.PUSH_FAILED, cause="##[add-mask]x", details=("::x::",)
    )
    cli.neighbours.fails["push"] = deque([failure] * 9)

    answer = cli.run(*DEPLOY, environ={"GITHUB_ACTIONS": "true"})

    lines = [line.lstrip() for line in answer.err.splitlines() if "::error" not in line]
    assert not any(line.startswith("::x") or "##[" in line for line in lines)


def test_outside_github_there_are_no_workflow_commands(cli: CommandLine) -> None:
    assert "::" not in cli.run(*DEPLOY).err


def test_v_shows_tool_output_and_logs_json_lines(cli: CommandLine) -> None:
    assert "cargo| Compiling core" in cli.run(*DEPLOY, "-v").err
    assert "Compiling core" not in cli.run(*DEPLOY, "--new").err


# -- Signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_the_run_which_can_be_resumed(
    cli: CommandLine, number: int, code: int
) -> None:
    stopped = Stopped(hang_in="push")
    stopped.number = number
    cli.neighbours = stopped

    answer = cli.run(*DEPLOY, "--json")

    record = history.runs(cli.state_dir, None, TENANT, 1)[0]
    assert answer.code == answer.document["exit_code"] == code
    assert record.outcome == "interrupted"
    assert answer.document["state"] == "pushing"
    assert answer.document["signal"] == number
    assert f"next: deployer resume {record.run.id}" in answer.err

    stopped.hang_in = None
    assert cli.run("resume", record.run.id).code == 0
    assert cli.neighbours.calls.count("compile") == 1


def test_a_signal_before_a_run_was_started_says_so(cli: CommandLine) -> None:
    cli.neighbours = Stopped(hang_in="ping")

    answer = cli.run(*DEPLOY, "--json")

    assert answer.code == 130
    assert answer.document["run"] is None
    assert "nothing happened" in answer.err


def test_an_open_post_makes_the_exit_code_20(cli: CommandLine) -> None:
    lost = Failure(phase=State.DEPLOYING, kind=Kind.OUTCOME_UNKNOWN, cause="no answer")
    cli.neighbours = Stopped(fails={"deploy": deque([lost])}, names_images=False)

    answer = cli.run(*DEPLOY, "--json")

    assert answer.code == answer.document["exit_code"] == 20
    assert answer.document["failure"]["id"] == "D10"


def test_the_handlers_are_put_back_after_a_run(cli: CommandLine) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    cli.run(*DEPLOY)

    assert before == [
        signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]


def test_a_signal_that_was_ignored_stays_ignored_in_a_run(cli: CommandLine) -> None:
    class Deaf(Neighbours):
        async def _called(self, name: str) -> Failure | None:
            os.kill(os.getpid(), signal.SIGHUP)
            return await super()._called(name)

    cli.neighbours = Deaf()
    with kept_handlers():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

        assert cli.run(*DEPLOY).code == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


# -- resume and rollback


def test_resume_without_a_run_takes_the_tenant_s_newest(cli: CommandLine) -> None:
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)
    cli.run(*DEPLOY)
    cli.neighbours.fails.clear()

    answer = cli.run("resume", "--tenant", TENANT)

    assert (answer.code, answer.out) == (0, f"{URL}\n")


def test_resume_of_an_unknown_run_is_wrong_usage(cli: CommandLine) -> None:
    answer = cli.run("resume", "nosuch")

    assert answer.code == 2
    assert "`deployer history` lists them" in answer.err


def test_resume_of_another_tenant_s_run_is_wrong_usage(cli: CommandLine) -> None:
    cli.run(*DEPLOY)
    run = history.runs(cli.state_dir, None, TENANT, 1)[0].run.id

    assert "is of tenant ten_1, not of other" in cli.run("resume", run, "--tenant", "other").err


def test_rollback_deploys_the_image_before_the_present_one(cli: CommandLine) -> None:
    cli.run(*DEPLOY, "--tag", "v1", "--new")
    cli.clock.now += 10
    cli.run(*DEPLOY, "--tag", "v2", "--new")

    answer = cli.run("rollback", "--tenant", TENANT, "--yes")

    assert answer.code == 0
    assert cli.neighbours.deployed[-1].endswith(":v1")


def test_rollback_asks_on_a_terminal_and_needs_yes_elsewhere(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = cli.run("rollback", "--tenant", TENANT)
    assert answer.code == 2
    assert "pass --yes" in answer.err

    cli.interactive = True
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert cli.run("rollback", "--tenant", TENANT).code == 3
    assert cli.settings is None


def test_busy_exits_75_and_names_the_holder(cli: CommandLine) -> None:
    cli.state_dir.mkdir(mode=0o700)
    with locked(lock_path(cli.state_dir, API, TENANT), "process 1, since noon"):
        answer = cli.run(*DEPLOY, "--json")

    assert answer.code == answer.document["exit_code"] == 75
    assert "process 1, since noon" in answer.document["failure"]["cause"]


# -- status, history, show


def test_history_lists_the_runs_newest_first(cli: CommandLine) -> None:
    cli.run(*DEPLOY, "--tag", "v1")
    cli.clock.now += 10
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)
    cli.run(*DEPLOY, "--tag", "v2", "--new")

    text = cli.run("history").out.splitlines()
    runs = cli.run("history", "--json").document["runs"]

    assert [run["tag"] for run in runs] == ["v2", "v1"]
    assert [run["outcome"] for run in runs] == ["failed", "succeeded"]
    assert "failed (P01)" in text[1]
    assert "succeeded" in text[2]


def test_history_without_a_journal_is_empty_and_makes_none(cli: CommandLine) -> None:
    assert cli.run("history", "--json").document["runs"] == []
    assert "no runs yet" in cli.run("history").out
    assert not cli.state_dir.exists()


def test_status_says_what_to_do_next(cli: CommandLine) -> None:
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)
    run = cli.run(*DEPLOY, "--json").document["run"]

    answer = cli.run("status")

    assert answer.code == 0
    assert f"next     deployer resume {run}" in answer.out
    assert cli.run("status", "--json").document["last"]["run"] == run


def test_show_has_the_events_of_one_run(cli: CommandLine) -> None:
    run = cli.run(*DEPLOY, "--json").document["run"]

    document = cli.run("show", run, "--json").document

    assert document["run"] == run
    assert [event["seq"] for event in document["events"]] == sorted(
        event["seq"] for event in document["events"]
    )
    assert len(cli.run("show", run).out.splitlines()) > len(document["events"])


@pytest.mark.parametrize("command", ["status", "history", "show x", "resume x"])
def test_a_broken_journal_exits_74_in_each_command(cli: CommandLine, command: str) -> None:
    cli.run(*DEPLOY)
    for file in cli.state_dir.glob("journal.sqlite*"):
        file.write_bytes(b"not a journal" * 1000)

    answer = cli.run(*command.split(), "--json")

    assert answer.code == answer.document["exit_code"] == 74
    assert answer.document["failure"]["id"].startswith("T0")


# -- Every path


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--help",),
        ("--version",),
        ("deploy", "--help"),
        ("nosuch",),
        ("deploy", "--nosuch"),
        ("deploy", "--wait-timeout", "soon"),
        ("deploy", "--tag", "not a tag"),
        ("deploy",),
        DEPLOY,
        (*DEPLOY, "--dry-run"),
        ("resume", "nosuch"),
        ("rollback", "--tenant", TENANT),
        ("rollback", "--tenant", TENANT, "--yes"),
        ("status",),
        ("history",),
        ("show", "nosuch"),
        ("explain", "P01"),
        ("explain", "nosuch"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_json_is_one_document_on_every_path(
    cli: CommandLine, args: tuple[str, ...], *, before: bool
) -> None:
    answer = cli.run(*(("--json", *args) if before else (*args, "--json")))

    assert answer.document["v"] == 1
    assert answer.document["exit_code"] == answer.code
    assert answer.out.count("\n") == 1


def test_a_bug_exits_70_with_one_scrubbed_line(cli: CommandLine) -> None:
    class Buggy(Neighbours):
        def crates(self, project_root: Path) -> tuple[Crate, ...] | Failure:
            raise AssertionError(f"impossible: {jwt()}")

    cli.neighbours = Buggy()

    answer = cli.run(*DEPLOY, "--json")
    loud = cli.run(*DEPLOY, "-v")

    assert answer.code == answer.document["exit_code"] == 70
    assert answer.document["failure"]["id"] == "T15"
    assert "Traceback" not in answer.err
    assert "Traceback" in loud.err
    assert scrubbed(answer.err + answer.out + loud.err)


def test_the_login_is_never_shown(cli: CommandLine) -> None:
    fails(cli, "push", Kind.REGISTRY_AUTH, State.PUSHING)

    answers = [cli.run(*DEPLOY, flag) for flag in ("-vv", "--json", "-q")]

    assert all(scrubbed(answer.out + answer.err) for answer in answers)


# -- Text that is no UTF-8


NO_UTF8 = "a\udcffb"  # how Python hands on a byte that is none


def test_a_message_that_is_no_utf8_is_stored_with_replacement_characters(cli: CommandLine) -> None:
    answer = cli.run(*DEPLOY, "--message", NO_UTF8, "--json")

    [stored] = cli.run("history", "--json").document["runs"]
    assert answer.code == 0
    assert stored["message"] == "a\ufffdb"


@pytest.mark.parametrize("command", ["show", "resume"])
def test_a_run_id_that_is_no_utf8_is_wrong_usage(cli: CommandLine, command: str) -> None:
    cli.run(*DEPLOY)

    answer = cli.run(command, NO_UTF8)

    assert answer.code == 2
    assert "no run" in answer.err


@pytest.mark.parametrize("command", ["deploy", "deploy --dry-run", "doctor", "resume"])
def test_a_project_whose_path_is_no_utf8_is_refused(tmp_path: Path, command: str) -> None:
    root = tmp_path / NO_UTF8
    root.mkdir()
    cli = CommandLine(root)

    answer = cli.run(*command.split(), "--tenant", TENANT)

    assert answer.code == 3
    assert "not UTF-8" in answer.out + answer.err


def test_a_dockerfile_or_profile_whose_path_is_no_utf8_is_refused(cli: CommandLine) -> None:
    profile = cli.root / NO_UTF8 / "profile.yaml"
    profile.parent.mkdir()
    profile.write_text(f"cloud: {{tenant_id: {TENANT}}}")

    by_dockerfile = cli.run(*DEPLOY, "--dockerfile", str(cli.root / NO_UTF8 / "Dockerfile"))
    by_profile = cli.run("deploy", "--profile", str(profile))

    assert by_dockerfile.code == by_profile.code == 3
    assert "not UTF-8" in by_dockerfile.err
    assert "not UTF-8" in by_profile.err


def test_foreign_names_cannot_command_the_terminal(cli: CommandLine) -> None:
    tenants = [{"id": TENANT, "name": "Ac\x1b[2J\x07me\nx", "app_id": "sp-ten-1"}]
    (cli.root / ".systemprompt/tenants.json").write_text(json.dumps({"tenants": tenants}))
    profile = cli.root / "pro\x1b[2Jfile" / "profile.yaml"
    profile.parent.mkdir()
    profile.write_text(f"cloud: {{tenant_id: {TENANT}}}")

    answers = [cli.run("deploy", "--profile", str(profile), *more) for more in ((), ("--dry-run",))]

    assert "\x1b" not in "".join(answer.out + answer.err for answer in answers)
    assert "(Acme x)" in answers[0].err


@pytest.mark.parametrize("command", ["deploy", "status"])
def test_an_empty_place_for_the_journal_is_wrong_usage(cli: CommandLine, command: str) -> None:
    answer = cli.run(command, "--state-dir", "")

    assert answer.code == 2
    assert "--state-dir" in answer.err


def test_a_file_in_the_place_of_the_journal_s_folder_fails_in_each_command(
    cli: CommandLine,
) -> None:
    cli.state_dir.write_text("a file")

    codes = [cli.run(*command).code for command in (DEPLOY, ("status",), ("history",))]

    assert codes == [74, 74, 74]


@pytest.mark.parametrize("variable", ["DATABASE_URL", "SYSTEMPROMPT_API_TOKEN"])
def test_a_secret_that_is_no_utf8_is_refused_with_its_variable(
    cli: CommandLine, variable: str
) -> None:
    environ = {variable: f"postgres://{NO_UTF8}"}

    deploy = cli.run(*DEPLOY, environ=environ)
    doctor = cli.run("doctor", "--tenant", TENANT, environ=environ)

    assert deploy.code == doctor.code == 3
    assert variable in deploy.err
    assert variable in doctor.out
