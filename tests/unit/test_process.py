"""Programs run under the guard, and what is left of them."""

import asyncio  # noqa: TID251  # a host may cancel natively, and twice
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from deployer.adapters.process import job as process
from deployer.adapters.process import session
from deployer.adapters.process.job import Job, LineSplitter, NotStarted, run

pytestmark = pytest.mark.anyio

TOOL = """
import sys, anyio
from pathlib import Path
from deployer.adapters.process.job import Job, run
ignore = lambda _: None
anyio.run(run, Job(command=sys.argv[1:], cwd=Path("/"), environment={}, stdout=ignore, stderr=ignore))
"""


def job(script: str, folder: Path, heard: list[bytes] | None = None) -> Job:
    hear = (heard if heard is not None else []).append
    return Job(
        command=("/bin/sh", "-c", script),
        cwd=folder,
        environment={"PATH": "/usr/bin:/bin", "ONLY": "this"},
        stdout=LineSplitter(b"\n", hear),
        stderr=LineSplitter(b"\r\n", hear),
    )


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def numbers(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110  # other processes tell of nothing
            await anyio.sleep(0.01)


def tree(pids: Path) -> str:
    """A script with a child and a grandchild that both ignore TERM; three ids end up in `pids`."""
    inner = f"trap '' TERM; echo $$ >>{pids}; while :; do sleep 9; done"
    return (
        f'echo $$ >>{pids}; (sh -c "{inner.replace("$", chr(92) + "$")}") & echo $! >>{pids}; wait'
    )


async def test_both_streams_and_the_exit_status_arrive(tmp_path: Path) -> None:
    heard: list[bytes] = []

    status = await run(job("echo out; printf 'a\\rb' >&2; exit 3", tmp_path, heard))

    assert status == 3
    assert sorted(heard) == [b"a", b"b", b"out"]


async def test_the_program_gets_its_own_environment_and_folder(tmp_path: Path) -> None:
    heard: list[bytes] = []

    await run(job("pwd; env", tmp_path, heard))

    assert heard[0] == os.fsencode(tmp_path)
    names = {line.split(b"=")[0] for line in heard[1:]}
    # The shell adds some, and Python its LC_CTYPE where no locale is set.
    assert names - {b"PWD", b"_", b"SHLVL", b"OLDPWD", b"LC_CTYPE"} == {b"PATH", b"ONLY"}


async def test_a_folder_that_is_gone_is_a_value(tmp_path: Path) -> None:
    assert await run(job("true", tmp_path / "gone")) == NotStarted("No such file or directory")


async def test_cancelled_it_returns_when_the_whole_tree_is_gone(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with anyio.create_task_group() as group:
        group.start_soon(run, job(tree(pids), tmp_path))
        await until(lambda: len(numbers(pids)) == 3)

        began = time.monotonic()
        group.cancel_scope.cancel()

    assert time.monotonic() - began < 1
    assert not any(alive(pid) for pid in numbers(pids))


async def test_cancelled_twice_by_a_host_that_uses_no_scopes_nothing_is_left(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    script = f"trap 'sleep .3; exit' TERM; echo $$ >>{pids}; while :; do sleep .05; done"
    task = asyncio.create_task(run(job(script, tmp_path)))
    await until(lambda: len(numbers(pids)) == 1)

    for _ in range(3):
        task.cancel()
        await anyio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(alive(pid) for pid in numbers(pids))


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_while_it_starts_nothing_is_left(tmp_path: Path, steps: int) -> None:
    pids = tmp_path / "pids"
    async with anyio.create_task_group() as group:
        group.start_soon(run, job(f"echo $$ >>{pids}; sleep 60", tmp_path))
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()

        # The loop stands still meanwhile, so the guard is further than the loop knows.
        time.sleep(0.06)  # noqa: ASYNC251
        group.cancel_scope.cancel()

    assert not any(alive(pid) for pid in numbers(pids))


async def test_nothing_outlives_a_tool_that_is_killed(tmp_path: Path) -> None:
    pids, tool = tmp_path / "pids", tmp_path / "tool.py"
    tool.write_text(TOOL)
    program = ("/bin/sh", "-c", tree(pids))
    async with await anyio.open_process([sys.executable, str(tool), *program]) as started:
        await until(lambda: len(numbers(pids)) == 3)

        started.kill()

    await until(lambda: not any(alive(pid) for pid in numbers(pids)))


async def test_a_guard_that_is_killed_takes_the_program_with_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def kill_guard(pid: int) -> None:
        await until(lambda: len(numbers(pids)) == 3)
        os.kill(pid, signal.SIGKILL)
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        status = await run(job(tree(pids), tmp_path), kill_guard)

    assert status == -signal.SIGKILL
    await until(lambda: not any(alive(pid) for pid in numbers(pids)))


async def test_a_guard_that_is_stopped_can_not_keep_the_program_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GUARD_SECONDS", 0.2)
    pids = tmp_path / "pids"

    async def stop_guard(pid: int) -> None:
        await until(lambda: len(numbers(pids)) == 3)
        os.kill(pid, signal.SIGSTOP)

    await run(job(tree(pids), tmp_path), stop_guard)

    await until(lambda: not any(alive(pid) for pid in numbers(pids)))


async def test_a_daemon_that_holds_the_pipes_does_not_hold_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "DRAIN_SECONDS", 0.2)
    pids, heard = tmp_path / "pids", list[bytes]()
    script = f"setsid sleep 30 & echo $! >>{pids}; sleep .1; echo done"

    with anyio.fail_after(2):
        status = await run(job(script, tmp_path, heard))

    assert (status, heard) == (0, [b"done"])
    [daemon] = numbers(pids)
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)


async def test_the_program_is_ended_when_its_watch_returns(tmp_path: Path) -> None:
    seen: list[frozenset[session.Member]] = []

    async def look(pid: int) -> None:
        await until(lambda: len(session.members(pid)) == 2)
        seen.append(session.members(pid))

    with anyio.fail_after(2):
        status = await run(job("exec sleep 60", tmp_path), look)

    assert status == 128 + signal.SIGTERM
    assert not any(alive(member.pid) for member in seen[0])


async def test_an_endless_line_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    heard: list[bytes] = []

    await run(job("head -c 5000000 /dev/zero; echo; echo next", tmp_path, heard))

    assert [len(line) for line in heard] == [process.LINE_MAX, 4]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_however_the_stream_is_cut(size: int) -> None:
    stream, lines = b"\n\none\r\ntwo\rthree \xff\xc3\n\nend", list[bytes]()
    split = LineSplitter(b"\r\n", lines.append)

    for start in range(0, len(stream), size):
        split(stream[start : start + size])
    split(b"")

    assert lines == [b"one", b"two", b"three \xff\xc3", b"end"]
