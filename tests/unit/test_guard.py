"""The guard, run as the tool runs it, over real process trees."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE, Popen  # noqa: TID251  # the guard must be driven from outside anyio

import pytest

from deployer.adapters.process import job as process
from deployer.adapters.process import session

GUARD = [sys.executable, "-I", "-S", str(process.GUARD)]
# A tool that starts the guard and can be killed: it is its parent, and holds the life line.
TOOL = """
import subprocess, sys, time
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
time.sleep(60)
"""


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def written(file: Path) -> bool:
    return file.exists() and file.read_text().endswith("\n")


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A file to which each shell below appends its process id; what still lives is killed."""
    file = tmp_path / "pids"
    yield file
    for pid in map(int, file.read_text().split()) if file.exists() else ():
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def guarded(script: str) -> "Popen[bytes]":
    command = [*GUARD, "/bin/sh", "-c", script]
    return Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)


def left_of(guard: "Popen[bytes]") -> int:
    """How many processes of a guard that has ended still live; they are killed."""
    left = session.members(guard.pid)
    if left:
        session.kill(guard.pid)
    return len(left)


@pytest.mark.parametrize("status", [0, 1, 101, 255])
def test_the_exit_status_is_the_commands(status: int) -> None:
    with guarded(f"exit {status}") as guard:
        assert guard.wait(5) == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_a_signal_that_ends_the_command_is_told_as_128_and_its_number(number: int) -> None:
    with guarded(f"kill -{number} $$; sleep 5") as guard:
        assert guard.wait(5) == 128 + number


def test_a_program_that_is_missing_is_127_and_a_line_with_the_errno() -> None:
    with Popen([*GUARD, "/no/such/cargo"], stdin=PIPE, stderr=PIPE) as guard:
        assert guard.stderr is not None
        line = guard.stderr.read()

        assert guard.wait(5) == 127
        assert line.startswith(b"guard-exec: 2 /no/such/cargo: ")


def test_a_file_that_is_no_program_is_126(tmp_path: Path) -> None:
    tmp_path.joinpath("cargo").write_text("x")
    with Popen([*GUARD, str(tmp_path / "cargo")], stdin=PIPE, stderr=PIPE) as guard:
        assert guard.stderr is not None
        assert guard.stderr.read().startswith(b"guard-exec: 13 ")
        assert guard.wait(5) == 126


def test_the_command_reads_nothing_and_does_not_hold_the_life_line() -> None:
    with guarded("cat; readlink /proc/$$/fd/0") as guard:
        assert guard.stdout is not None
        assert guard.stdout.read() == b"/dev/null\n"


def test_the_command_gets_the_signals_that_python_ignores() -> None:
    with guarded("grep SigIgn /proc/self/status") as guard:
        assert guard.stdout is not None
        ignored = int(guard.stdout.read().split()[1], 16)

    assert not ignored & (1 << (signal.SIGPIPE - 1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_guard_ends_the_whole_group(number: int, pids: Path) -> None:
    with guarded(f"(sleep 60 & echo $! >>{pids}; wait) & echo $$ >>{pids}; wait") as guard:
        assert eventually(lambda: written(pids) and len(pids.read_text().split()) == 2)

        guard.send_signal(number)

        assert guard.wait(1) == 128 + signal.SIGTERM
        assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_a_group_that_ignores_term_is_killed_after_two_seconds(pids: Path) -> None:
    script = f"trap '' TERM; sh -c 'echo $$ >>{pids}; while :; do sleep 1; done'"
    with guarded(script) as guard:
        assert eventually(lambda: written(pids))

        began = time.monotonic()
        guard.terminate()

        assert guard.wait(5) == 128 + signal.SIGKILL
        assert 1.9 < time.monotonic() - began < 3
        assert not alive(int(pids.read_text()))


def test_what_the_command_leaves_behind_is_killed_and_its_status_kept(pids: Path) -> None:
    script = (
        f"(trap '' TERM; echo $$ >/dev/null; sleep 60 & echo $! >>{pids}; wait) & sleep .1; exit 7"
    )
    with guarded(script) as guard:
        assert guard.wait(5) == 7
        assert written(pids)
        assert not alive(int(pids.read_text()))


def test_the_guard_ends_after_all_that_it_kills(pids: Path) -> None:
    script = f"for i in $(seq 100); do sleep 60 & echo $! >>{pids}; done; exit 0"
    with guarded(script) as guard:
        guard.wait(5)

        assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_nothing_outlives_a_tool_that_is_killed(pids: Path) -> None:
    script = f"(trap '' TERM; sh -c 'echo $$ >>{pids}; sleep 60') & echo $$ >>{pids}; wait"
    with Popen([sys.executable, "-c", TOOL, *GUARD, "/bin/sh", "-c", script]) as tool:
        assert eventually(lambda: written(pids) and len(pids.read_text().split()) == 2)

        tool.kill()

    tree = [int(pid) for pid in pids.read_text().split()]
    assert eventually(lambda: not any(alive(pid) for pid in tree), 1.0)


def test_a_stopped_group_is_ended_too(pids: Path) -> None:
    with guarded(f"echo $$ >>{pids}; kill -STOP $$; sleep 60") as guard:
        assert eventually(lambda: written(pids))
        assert eventually(
            lambda: " (sh) T " in Path(f"/proc/{pids.read_text().strip()}/stat").read_text()
        )

        assert guard.stdin is not None
        guard.stdin.close()

        assert guard.wait(1) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("script", "processes"),
    [
        ("timeout 500 sleep 500; true", 3),
        ("set -m; sleep 500 & wait", 2),
        ("set -m; (trap '' TERM; sleep 500; true) & wait", 3),
        ("set -m; (kill -STOP $BASHPID; true) & sleep 500 & wait", 3),
    ],
)
def test_a_signal_ends_the_groups_that_the_command_made_itself(script: str, processes: int) -> None:
    with guarded(f"exec bash -c {shlex.quote(script)}") as guard:
        assert eventually(lambda: len(session.members(guard.pid)) == 1 + processes)

        guard.terminate()

        assert guard.wait(1) == 128 + signal.SIGTERM
        assert left_of(guard) == 0


def test_a_group_of_the_command_s_own_hears_term_before_it_is_killed(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    inner = (
        f"trap 'echo term >>{heard}; exit' TERM; echo ready >{heard}; while :; do sleep .05; done"
    )
    script = f"set -m; trap '' TERM; env --default-signal=TERM bash -c {shlex.quote(inner)} & wait"
    with guarded(f"exec bash -c {shlex.quote(script)}") as guard:
        assert eventually(lambda: written(heard))

        guard.terminate()

        assert guard.wait(1) == 0
        assert heard.read_text() == "ready\nterm\n"
        assert left_of(guard) == 0


def test_a_group_that_the_command_leaves_behind_is_killed_and_its_status_kept() -> None:
    with guarded("timeout 500 sleep 500 & sleep .3; exit 7") as guard:
        assert guard.wait(5) == 7
        assert left_of(guard) == 0


@pytest.mark.parametrize("command", ["true", "sh -c 'kill $PPID; sleep 5'"])
def test_a_guard_in_somebody_elses_session_touches_only_its_own_group(command: str) -> None:
    # A session of its own again, around it all: an error here would end the tests.
    script = f"sleep 60 & {shlex.join(GUARD)} {command}; kill -0 $! && echo alive; kill -9 $!"
    argv = ["/bin/sh", "-c", script]
    with Popen(argv, stdin=PIPE, stdout=PIPE, start_new_session=True) as shell:
        assert shell.communicate(timeout=10)[0] == b"alive\n"
