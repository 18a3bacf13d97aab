import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from deployer.sandbox.command import REFUSED, group
from deployer.sandbox.faults import FAULTS, Faults
from deployer.sandbox.options import Options
from deployer.sandbox.refusal import Say
from deployer.sandbox.up import Sandbox
from tests.fakes.cli import CommandLine


def test_the_faults_are_listed_with_what_they_do() -> None:
    result = CliRunner().invoke(group, ["faults"])

    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(FAULTS)


@pytest.mark.parametrize("fault", ["no-such", "push-401:0"])
def test_a_fault_that_does_not_exist_is_a_usage_error(fault: str) -> None:
    result = CliRunner().invoke(group, ["up", "--fault", fault])

    assert result.exit_code == 2
    assert fault in result.stderr


@pytest.mark.parametrize("command", [["up", "--port", "0"], ["demo"]])
def test_a_sandbox_that_cannot_come_up_says_so_in_one_line(command: list[str]) -> None:
    result = CliRunner().invoke(group, command, env={"XDG_CACHE_HOME": "/dev/null/cache"})

    assert result.exit_code == REFUSED
    (line,) = result.stderr.splitlines()
    assert line.startswith("/dev/null/cache/deployer/sandbox")
    assert line.endswith(" cannot be made: Not a directory. Name another place by XDG_CACHE_HOME.")


@pytest.mark.anyio
async def test_the_group_loads_no_server_until_a_command_runs() -> None:
    script = (
        "import sys, deployer.sandbox.command\n"
        "print([name for name in ('aiohttp', 'anyio', 'yaml') if name in sys.modules])"
    )

    done = await anyio.run_process([sys.executable, "-c", script])

    assert done.stdout.decode().strip() == "[]"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sandbox that is up at once and serves nothing."""

    @asynccontextmanager
    async def sandbox(_options: Options, _say: Say) -> AsyncIterator[Sandbox]:
        yield Sandbox(
            api_url="http://127.0.0.1:1",
            api_token="token",
            engine="",
            no_engine=False,
            gate="127.0.0.1:2",
            registry="127.0.0.1:3",
            urls={},
            ledger=tmp_path / "deploys.jsonl",
            base_made_here=False,
            faults=Faults({}),
        )

    monkeypatch.setattr("deployer.sandbox.up.sandbox", sandbox)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("args", [("--json", "sandbox", "up"), ("sandbox", "up", "--json")])
def test_json_has_the_environment_in_its_one_document_while_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    out, seen = io.StringIO(), list[str]()

    async def serve() -> None:
        seen.append(out.getvalue())

    monkeypatch.setattr(anyio, "sleep_forever", serve)

    answer = CommandLine(tmp_path).run(*args, out=out)

    assert answer.code == 0
    assert answer.document["environment"]["SYSTEMPROMPT_API_TOKEN"] == "token"
    assert seen == [answer.out]


@pytest.mark.usefixtures("quick")
def test_an_env_file_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = CommandLine(tmp_path).run("sandbox", "up", "--env-file", "/dev/null/env")

    assert answer.code == REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("/dev/null/env cannot be written: Not a directory.")
