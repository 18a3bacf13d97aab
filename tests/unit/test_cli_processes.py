"""Real processes: what the light commands import, and what signals and closed pipes do."""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE  # noqa: TID251  # constants for anyio's processes

import anyio
import anyio.to_thread
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from deployer import history
from tests.fakes.cli import TENANT, CommandLine, jwt

pytestmark = pytest.mark.anyio

HEAVY = {"aiodocker", "aiohttp", "anyio", "asyncio", "httpx", "rich", "structlog", "tenacity", "transitions", "yaml"}  # fmt: skip
ROOT = Path(__file__).parents[2]
DEPLOYER = (sys.executable, "-m", "deployer")
# A name server that is silent, as the C library shows it: a call that nothing can interrupt.
SLOW_LOOKUP = """
import socket, sys, time
def getaddrinfo(host, *_, **__):
    sys.stderr.write("looking up\\n")
    time.sleep(10)
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
socket.getaddrinfo = getaddrinfo
"""


def imported(importtime: str) -> set[str]:
    """The top-level packages in the output of `-X importtime`."""
    names = (line.rpartition("|")[2].strip() for line in importtime.splitlines())
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("--help",),
        ("--version",),
        ("deploy", "--help"),
        ("rollback", "--help"),
        ("explain", "P01"),
        ("history",),
        ("status",),
        ("nosuch",),
    ],
    ids=" ".join,
)
async def test_a_light_command_imports_nothing_heavy(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    argv = (sys.executable, "-X", "importtime", "-m", "deployer", "--state-dir", str(tmp_path))

    ended = await anyio.run_process((*argv, *command), check=False)

    assert ended.returncode == (2 if command == ("nosuch",) else 0)
    names = imported(ended.stderr.decode())
    assert "click" in names
    assert names & HEAVY == set()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_signal_during_the_imports_ends_without_a_traceback(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    # A click that takes for ever to import, in front of the real one.
    (tmp_path / "click.py").write_text(
        "print('importing', flush=True)\nimport time\ntime.sleep(60)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}

    async with await anyio.open_process(DEPLOYER, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        await BufferedByteReceiveStream(process.stdout).receive_until(b"importing\n", 100)
        process.send_signal(number)
        assert await process.wait() == code
        with pytest.raises(anyio.EndOfStream):
            await process.stderr.receive()


@pytest.mark.parametrize("command", [("doctor",), ("deploy", "--dry-run")], ids=" ".join)
async def test_a_signal_during_a_look_still_leaves_one_document(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    CommandLine(tmp_path)
    argv = (
        *DEPLOYER,
        "--json",
        "--state-dir",
        str(tmp_path / "state"),
        *command,
        "--tenant",
        TENANT,
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        api = {"SYSTEMPROMPT_API_URL": f"http://127.0.0.1:{port}", "SYSTEMPROMPT_API_TOKEN": jwt()}
        environ = {**os.environ, **api}
        async with await anyio.open_process(argv, cwd=tmp_path, env=environ) as process:
            assert process.stdout is not None
            asked, _ = await anyio.to_thread.run_sync(server.accept)
            with asked:  # and never answered
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 143
            answer = await process.stdout.receive()

    document = json.loads(answer)
    assert (document["v"], document["exit_code"], document["signal"]) == (1, 143, 15)


async def test_a_signal_at_python_s_own_end_does_not_change_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, time\n"
        "atexit.register(lambda: (os.write(1, b'ending\\n'), time.sleep(0.3)))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}

    async with await anyio.open_process((*DEPLOYER, "nosuch"), env=environ) as process:
        assert process.stdout is not None
        await BufferedByteReceiveStream(process.stdout).receive_until(b"ending\n", 100)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 2


async def test_the_second_signal_waits_for_no_clean_up(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "tests.fakes.stubborn", str(tmp_path))
    async with await anyio.open_process(argv, cwd=ROOT) as process:
        assert process.stderr is not None
        talk = BufferedByteReceiveStream(process.stderr)
        await talk.receive_until(b"hanging\n", 10_000)
        process.send_signal(signal.SIGTERM)
        await talk.receive_until(b"once more to quit at once\n", 10_000)
        process.send_signal(signal.SIGINT)

        assert await process.wait() == 130

    assert history.runs(tmp_path / "state", None, None, 1)[0].outcome == "interrupted"


async def test_a_second_signal_does_not_change_the_exit_code_that_was_said(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "tests.fakes.lingering", str(tmp_path))
    async with await anyio.open_process(argv, cwd=ROOT) as process:
        assert process.stderr is not None
        await BufferedByteReceiveStream(process.stderr).receive_until(b"lingering\n", 10_000)
        process.send_signal(signal.SIGINT)

        assert await process.wait() == 143


async def deploy_with_a_slow_lookup(folder: Path, *flags: str) -> Process:
    CommandLine(folder)  # for its project
    (folder / "sitecustomize.py").write_text(SLOW_LOOKUP)
    environ = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "SYSTEMPROMPT_API_URL": "https://slow.example",
        "SYSTEMPROMPT_API_TOKEN": jwt(),
        "DATABASE_URL": "postgres://localhost/acme",
    }
    argv = (*DEPLOYER, "-C", str(folder), "--state-dir", str(folder / "state"), *flags)
    return await anyio.open_process((*argv, "deploy", "--tenant", TENANT), env=environ)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
async def test_a_signal_does_not_wait_for_a_slow_lookup_and_a_late_one_changes_nothing(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    async with await deploy_with_a_slow_lookup(tmp_path, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        talk = BufferedByteReceiveStream(process.stderr)
        await talk.receive_until(b"looking up\n", 10_000)
        with anyio.fail_after(3):
            process.send_signal(number)
            await talk.receive_until(
                b"stopped before a run was started; nothing happened\n", 10_000
            )
            with suppress(ProcessLookupError):  # it may be gone
                process.send_signal(signal.SIGINT if number is signal.SIGTERM else signal.SIGTERM)
            assert await process.wait() == code
        document = b"".join([piece async for piece in process.stdout])

    assert json.loads(document)["exit_code"] == code


async def test_a_closed_stdout_does_not_fail_a_command(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        argv = (*DEPLOYER, "--state-dir", str(tmp_path), "explain", "P01")
        ended = await anyio.run_process(argv, stdout=writer, stderr=PIPE, check=False)
    finally:
        os.close(writer)

    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("command", [(), ("--help",), ("--version",), ("deploy", "--help")])
async def test_a_full_stdout_does_not_fail_a_command(command: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        argv = (*DEPLOYER, *command)
        ended = await anyio.run_process(argv, stdout=full, stderr=PIPE, check=False)
    finally:
        os.close(full)

    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_a_process_without_streams_still_ends_with_its_code(tmp_path: Path) -> None:
    script = (
        f"exec {sys.executable} -m deployer --state-dir {tmp_path} deploy --nosuch 0<&- >&- 2>&-"
    )

    ended = await anyio.run_process(["sh", "-c", script], stdin=DEVNULL, check=False)

    assert ended.returncode == 2


async def test_text_that_is_no_unicode_breaks_neither_json_nor_the_talk(tmp_path: Path) -> None:
    argv = [os.fsencode(part) for part in DEPLOYER]

    ended = await anyio.run_process([*argv, b"--json", b"nosuch\xff\x1b[2J"], check=False)

    assert ended.returncode == 2
    assert b"\x1b" not in ended.stderr + ended.stdout
    assert ended.stdout.count(b"\n") == 1


async def test_a_directory_that_is_gone_is_wrong_usage(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f'mkdir {gone}; cd {gone}; rmdir {gone}; exec "{sys.executable}" -m deployer deploy'

    ended = await anyio.run_process(["sh", "-c", script], check=False)

    assert ended.returncode == 2
    assert b"the current directory is gone" in ended.stderr
