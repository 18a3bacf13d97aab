"""What goes wrong around the POST, and with the tool itself, in whole runs on real parts."""

import os
import signal
import sqlite3
import subprocess  # noqa: TID251  # a reader that goes away
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from deployer import Deployer, DeployRequest, Secret, Settings
from deployer.adapters.clock import SystemClock
from deployer.adapters.journal.file import NAME
from deployer.adapters.journal.journal import Journal
from deployer.errors import JournalError
from deployer.run import Run
from deployer.sandbox.options import TENANTS
from deployer.sandbox.up import Sandbox
from deployer.wiring import wired
from tests.real.commands import CommandLine
from tests.real.conftest import Raised
from tests.real.disks import small_disk

pytestmark = pytest.mark.real

TENANT = TENANTS[0].id
Provoked = Callable[[str, object], None]
Seen = Callable[[str], None]
Fault = Callable[..., None]
QUICK = ("--wait-timeout", "2s")


@pytest.fixture
def cli(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> CommandLine:
    """The command line in a fresh project, with a journal of its own."""
    env = {**os.environ, **sandbox.environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    env.pop("DATABASE_URL", None)
    return CommandLine(workspace, env)


def state_dir(cli: CommandLine) -> Path:
    return Path(cli.env["XDG_STATE_HOME"], "deployer")


@pytest.fixture
def deployed(cli: CommandLine) -> str:
    """The tag of an image that runs: the next deploy needs neither cargo nor engine."""
    ended = cli("deploy", "--tag", "base")
    assert ended.code == 0, ended
    return "base"


def again(cli: CommandLine, *more: str) -> dict[str, object]:
    return dict(cli("deploy", "--skip-push", "--tag", "base", "--new", *more).document)


# -- Around the POST


def test_what_becomes_of_a_deploy_is_told_by_its_id(
    cli: CommandLine,
    deployed: str,
    fault: Fault,
    raised: Raised,
    sandbox: Sandbox,
    provoked: Provoked,
) -> None:
    fault("health-503")
    provoked("D15", again(cli, *QUICK))
    raised.no_faults(sandbox)
    fault("deploy-superseded")
    provoked("D17", again(cli, *QUICK))
    raised.no_faults(sandbox)
    fault("deploy-image-not-found")
    provoked("D04", again(cli, *QUICK))
    raised.no_faults(sandbox)
    fault("deploy-update-failed")
    provoked("D08", again(cli, *QUICK))


def test_an_outcome_that_nobody_knows_stands_in_the_way_of_a_new_run(
    cli: CommandLine, deployed: str, fault: Fault, provoked: Provoked
) -> None:
    for name in ("deploy-lost-answer", "bare-status", "ignore-keys"):
        fault(name)

    lost = cli("deploy", "--skip-push", "--tag", "base", "--new")
    another = cli("deploy", "--skip-push", "--tag", "base")

    provoked("D10", lost.document)
    provoked("D16", another.document)
    assert (lost.code, another.code) == (20, 20)


# -- The tool itself


def test_refused_settings(cli: CommandLine, provoked: Provoked) -> None:
    provoked("T20", cli("deploy", "--tenant", "nobody-knows").document)
    provoked(
        "T20",
        CommandLine(cli.project, {**cli.env, "SYSTEMPROMPT_API_TOKEN": "x"})("deploy").document,
    )


def test_no_run_to_resume(cli: CommandLine, provoked: Provoked) -> None:
    provoked("T21", cli("resume").document)
    provoked("T21", cli("rollback", "--yes").document)


def test_another_process_deploys_the_tenant(
    cli: CommandLine, sandbox: Sandbox, provoked: Provoked
) -> None:
    async def beside() -> dict[str, object]:
        journal = Journal(state_dir(cli), sandbox.api_url, SystemClock())
        async with journal.hold(TENANT):
            found = await anyio.to_thread.run_sync(cli, "deploy")
        await journal.aclose()
        assert found.code == 75
        return dict(found.document)

    provoked("T03", anyio.run(beside))


def corrupt(folder: Path) -> None:
    (folder / NAME).write_bytes(b"\0" * 5000)


def emptied(folder: Path) -> None:
    (folder / NAME).write_bytes(b"")


def newer(folder: Path) -> None:
    connection = sqlite3.connect(folder / NAME)
    connection.execute("pragma user_version = 99")
    connection.close()


def somebody_else_s(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(folder / NAME, 65534, 65534)


def a_link(folder: Path) -> None:
    (folder / NAME).rename(folder / "elsewhere")
    (folder / NAME).symlink_to(folder / "elsewhere")


@pytest.mark.parametrize(
    ("failure_id", "damage"),
    [
        ("T06", corrupt),
        ("T06", emptied),
        ("T08", newer),
        ("T09", somebody_else_s),
        ("T09", a_link),
    ],
)
def test_a_journal_that_must_not_be_used(
    cli: CommandLine, provoked: Provoked, failure_id: str, damage: Callable[[Path], None]
) -> None:
    cli("resume")
    damage(state_dir(cli))

    ended = cli("deploy")

    provoked(failure_id, ended.document)
    assert ended.code == 74


def test_a_journal_below_a_file(cli: CommandLine, tmp_path: Path, provoked: Provoked) -> None:
    (tmp_path / "file").touch()

    provoked("T07", cli("deploy", "--state-dir", str(tmp_path / "file/state")).document)


def fill(file: Path) -> None:
    with suppress(OSError), file.open("ab", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def test_a_journal_on_a_full_disk(cli: CommandLine, tmp_path: Path, provoked: Provoked) -> None:
    with small_disk(tmp_path / "small", "200k") as folder:
        cli("resume", "--state-dir", str(folder))
        fill(folder / "filler")

        async def opened() -> object:
            journal = Journal(folder, "https://api.example", SystemClock())
            try:
                await journal.acknowledge(Run.__name__)  # type: ignore[arg-type]
                async with journal.hold("another-tenant"):
                    return None
            except JournalError as error:
                return error.failure
            finally:
                await journal.aclose()

        provoked("T05", anyio.run(opened))


def test_a_run_that_gets_nowhere(cli: CommandLine, provoked: Provoked) -> None:
    cli.killed_in("building", "deploy")
    connection = sqlite3.connect(state_dir(cli) / NAME)
    connection.execute("update run set stalled = 20")
    connection.commit()
    connection.close()

    provoked("T16", cli("resume").document)


def test_a_bug_in_the_tool_ends_in_failed_and_can_be_resumed(
    cli: CommandLine, sandbox: Sandbox, provoked: Provoked
) -> None:
    settings = Settings(
        api_url=sandbox.api_url,
        api_token=Secret(sandbox.api_token),
        state_dir=state_dir(cli),
        environment=cli.env,
        docker_host=sandbox.engine,
        sqlx_offline=True,
    )

    class Broken:
        def __getattr__(self, name: str) -> object:
            if name == "build":
                raise ZeroDivisionError(f"made for {settings.api_token}")
            return getattr(toolchain, name)

    adapters = wired(settings)
    toolchain = adapters.toolchain

    async def deploy() -> object:
        async with Deployer(replace(adapters, toolchain=Broken())) as deployer:  # type: ignore[arg-type]
            return await deployer.deploy(DeployRequest(tenant=TENANT, project_root=cli.project))

    provoked("T15", anyio.run(deploy))


# -- Met and dealt with


def test_a_killed_run_goes_on_and_says_that_the_project_changed(
    cli: CommandLine, seen: Seen
) -> None:
    cli.killed_in("imaging", "deploy")
    (cli.project / "services/more.yaml").write_text("a: 1\n")

    ended = cli("resume")

    assert ended.code == 0, ended
    assert "the project changed since run" in ended.talk
    seen("T01")
    seen("T13")


def test_the_direct_builder_refuses_what_only_an_engine_can_build(
    cli: CommandLine, provoked: Provoked
) -> None:
    dockerfile = cli.project / ".systemprompt/Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN true\n")

    refused = cli("deploy", "--builder", "direct")

    assert (refused.code, refused.document["run"]) == (3, None)
    provoked("I24", refused.document)


def test_an_image_that_is_gone_is_built_again(
    cli: CommandLine, sandbox: Sandbox, seen: Seen, fault: Callable[..., None]
) -> None:
    pruned: list[bool] = []

    def prune() -> None:
        import aiodocker  # noqa: PLC0415

        async def remove() -> None:
            async with aiodocker.Docker(sandbox.engine) as engine:
                for image in await engine.images.list():
                    for name in image.get("RepoTags") or ():
                        if name.startswith("deployer-run:"):
                            await engine.images.delete(name, force=True)

        anyio.run(remove)

    def beside() -> None:
        if pruned:
            return
        pruned.append(True)
        thread = threading.Thread(target=prune)  # this one has a loop already
        thread.start()
        thread.join()

    # The server asks to come again in a second: time enough to prune before the push.
    when = {"imaging": lambda: fault("token-503", 2), "authenticating": beside}
    ended = cli("deploy", when=when)

    assert ended.code == 0, ended
    assert "back to imaging" in ended.talk
    seen("I18")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_a_run_which_can_be_resumed(
    cli: CommandLine, seen: Seen, number: signal.Signals, code: int
) -> None:
    (cli.project / "core/build.rs").write_text(
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(600)); }\n"
    )

    stopped = anyio.run(_stopped, cli, number)

    assert stopped == code
    assert cli("status").document["last"]["outcome"] == "interrupted"
    seen("T02")


async def _stopped(cli: CommandLine, number: signal.Signals) -> int:
    command = [sys.executable, "-m", "deployer", "deploy"]
    with anyio.fail_after(60):
        async with await anyio.open_process(command, cwd=cli.project, env=cli.env) as child:
            assert child.stderr is not None
            async for chunk in child.stderr:
                if b"building" in chunk and b"begins" in chunk:
                    await anyio.sleep(0.3)
                    child.send_signal(number)
            return await child.wait()


def test_closed_output_does_not_stop_a_run(cli: CommandLine, seen: Seen) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "deployer", "deploy"]
    done = subprocess.run(
        command,
        cwd=cli.project,
        env=cli.env,
        stdout=writing,
        stderr=writing,
        check=False,
        timeout=60,
    )
    os.close(writing)

    assert done.returncode == 0
    assert cli("status").document["last"]["outcome"] == "succeeded"
    seen("T14")


def test_a_journal_that_is_busy_for_a_moment_is_waited_for(cli: CommandLine, seen: Seen) -> None:
    cli("resume")
    connection = sqlite3.connect(
        state_dir(cli) / NAME, isolation_level=None, check_same_thread=False
    )
    connection.execute("begin immediate")
    letting_go = threading.Timer(3.0, connection.close)
    letting_go.start()

    ended = cli("deploy")

    letting_go.join()
    assert ended.code == 0, ended
    seen("T10")


def test_a_process_that_slept_goes_on(cli: CommandLine, deployed: str, seen: Seen) -> None:
    asleep: list[int] = []

    def sleep() -> None:
        asleep.extend(_children())
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(2.0, os.kill, (pid, signal.SIGCONT)).start()

    ended = cli("deploy", "--skip-push", "--tag", deployed, "--new", when={"deploying": sleep})

    assert len(asleep) == 1
    assert ended.code == 0, ended
    seen("T12")


def _children() -> list[int]:
    """The command lines that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_bytes()
            if int(parent) == os.getpid() and b"-m\0deployer\0deploy" in command:
                found.append(int(folder.name))
    return found
