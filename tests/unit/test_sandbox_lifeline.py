"""The life line with real processes; namespaces are tried where the kernel grants them."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from deployer.sandbox import lifeline
from deployer.sandbox.child import bound, output
from deployer.sandbox.refusal import Refused

pytestmark = pytest.mark.anyio
ENV = {"PATH": os.defpath}


async def until(true: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if true():
            return True
        await anyio.sleep(0.01)
    return False


def written(path: Path) -> bool:
    return path.exists() and path.read_text().endswith("\n")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def command_lines() -> str:
    lines = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            lines.append(each.read_text(errors="replace").replace("\0", " "))
    return "\n".join(lines)


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


async def test_the_program_ends_with_the_block(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 60"

    async with bound(["sh", "-c", script], env=ENV, log=tmp_path / "log"):
        assert await until(lambda: written(tmp_path / "pid"))
        pid = int((tmp_path / "pid").read_text())

    assert await until(lambda: gone(pid))


async def test_the_program_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    script = f"trap 'echo asked > {tmp_path}/asked; exit' TERM; echo > {tmp_path}/up; read x < {tmp_path}/never"
    os.mkfifo(tmp_path / "never")

    async with bound(["sh", "-c", script], env=ENV, log=tmp_path / "log"):
        assert await until(lambda: written(tmp_path / "up"))

    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_the_program_dies_when_its_owner_is_killed_with_9(tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 60"
    owner = (
        "import anyio; from pathlib import Path; from deployer.sandbox.child import bound\n"
        "async def main():\n"
        f"    async with bound(['sh', '-c', {script!r}], env={ENV!r}, log=Path({str(tmp_path / 'log')!r})):\n"
        "        await anyio.sleep(60)\n"
        "anyio.run(main)"
    )
    async with await anyio.open_process([sys.executable, "-c", owner]) as process:
        assert await until(lambda: written(tmp_path / "pid"))
        pid = int((tmp_path / "pid").read_text())
        process.send_signal(signal.SIGKILL)

        assert await until(lambda: gone(pid))


async def test_the_exit_code_of_the_program_is_kept(tmp_path: Path) -> None:
    async with bound(["sh", "-c", "exit 7"], env=ENV, log=tmp_path / "log") as process:
        with anyio.fail_after(10):
            assert await process.wait() == 7


async def test_a_missing_program_is_named_in_the_log(tmp_path: Path) -> None:
    async with bound(["no-such-program"], env=ENV, log=tmp_path / "log") as process:
        with anyio.fail_after(10):
            assert await process.wait() == 127

    assert "no-such-program: No such file" in (tmp_path / "log").read_text()


async def test_a_world_of_its_own_takes_strays_with_it_and_leaves_no_mount(tmp_path: Path) -> None:
    # setsid twice: out of the session and the group, as containerd's shims go.
    stray = f"setsid setsid sleep 61.25 & touch {tmp_path}/private/seen; echo > {tmp_path}/up; wait"
    private = [tmp_path / "private"]
    argv = ["sh", "-c", stray]
    async with bound(argv, env=ENV, log=tmp_path / "log", private=private) as process:
        await until(lambda: written(tmp_path / "up") or process.returncode is not None)
        if process.returncode == lifeline.NO_WORLD:
            pytest.skip("the kernel gives this user no namespaces")

    assert list((tmp_path / "private").iterdir()) == []
    assert str(tmp_path) not in mounts()
    assert "sleep 61.25" not in command_lines()


async def test_a_short_program_that_fails_is_refused_with_its_last_line() -> None:
    with pytest.raises(Refused, match="Looking failed with exit code 3: the reason"):
        await output(["sh", "-c", "echo noise >&2; echo the reason >&2; exit 3"], what="Looking")


async def test_a_short_program_that_is_missing_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="no-such-program"):
        await output(["no-such-program"], what="Looking")
