import sys

import anyio
import pytest
from click.testing import CliRunner

from deployer.sandbox.command import REFUSED, group
from deployer.sandbox.faults import FAULTS


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
