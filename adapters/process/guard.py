"""Runs one command in a process group of its own, and nothing of it outlives the tool.

`python -I -S guard.py COMMAND [ARGUMENT …]`, the standard library only. The tool keeps the other
end of this process's stdin open and never writes to it: its end, also after `kill -9`, closes it.
Then, and at TERM, INT or HUP, the group gets TERM, and two seconds later KILL; what is left at the
command's end is killed. So is every other group of a session that was made for the guard: timeout(1)
makes one, and each shell with `set -m`. A daemon that left the session (`setsid`) lives on. The exit
status is the command's; 128+n when signal n ended it; 127 or 126 when it could not be executed.
"""

# `signal` and `contextlib` bring enum, collections and functools: 6 of the 18 ms of a start
# (measured), and a deploy starts nine guards. `signal` is made of this, in each Python.
import _signal as signal  # type: ignore[import-not-found]
import os
import select
import sys
import time

GRACE_SECONDS = 2.0
VANISH_SECONDS = 1.0  # a killed process is gone in milliseconds, or hangs in the kernel
LIFE_LINE = 0
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HANDLED = (*STOPPING, signal.SIGCHLD)


def main(command: list[str]) -> int:
    """Run `command` to its end, or to the tool's; return the exit status."""
    wake = _signal_pipe()
    leader = _start(command)
    _watch(leader, wake)
    return _clear(leader)


def _signal_pipe() -> int:
    """A descriptor that becomes readable at each signal and yields its number as a byte."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in HANDLED:
        signal.signal(number, lambda *_: None)
    return reader


def _start(command: list[str]) -> int:
    # A signal between fork and exec would reach Python's handler in the child, and be lost there.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    leader = os.fork()
    if leader == 0:
        _become(command)
    # Both sides set the group: whoever comes second finds it done.
    try:
        os.setpgid(leader, leader)
    except OSError:
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    return leader


def _become(command: list[str]) -> None:
    try:
        os.setpgid(0, 0)
        # The command must not hold the life line, nor read from it.
        os.dup2(os.open(os.devnull, os.O_RDONLY), LIFE_LINE)
        # Python ignores these two, and exec would hand that down.
        for number in (*HANDLED, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvp(command[0], command)  # noqa: S606  # no shell is what is wanted
    except OSError as error:
        os.write(2, f"guard-exec: {error.errno} {command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _watch(leader: int, wake: int) -> None:
    """Return when the leader has ended, by itself or because it had to."""
    kill_at: float | None = None
    while not _ended(leader):
        if kill_at is None and _told_to_stop(wake):
            _signal_all(leader, signal.SIGTERM)
            _signal_all(leader, signal.SIGCONT)  # the stopped take no TERM
            kill_at = time.monotonic() + GRACE_SECONDS
        elif kill_at is not None:
            _wait_until(kill_at, wake)
            if time.monotonic() >= kill_at:
                _signal_all(leader, signal.SIGKILL)
                kill_at += GRACE_SECONDS


def _told_to_stop(wake: int) -> bool:
    readable, _, _ = select.select([LIFE_LINE, wake], [], [])
    if wake in readable and any(number in STOPPING for number in os.read(wake, 4096)):
        return True
    return LIFE_LINE in readable and not os.read(LIFE_LINE, 4096)


def _wait_until(deadline: float, wake: int) -> None:
    readable, _, _ = select.select([wake], [], [], max(0.0, deadline - time.monotonic()))
    if readable:
        os.read(wake, 4096)


def _ended(leader: int) -> bool:
    # WNOWAIT leaves it a zombie: as long as it is one, nobody else can get its group's number.
    return os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_all(leader: int, number: int) -> None:
    """Send `number` to the leader's group at one stroke, then to each process beside it."""
    _signal_group(leader, number)
    for pid in _members(leader):
        if _group(pid) != leader:
            _signal(pid, number)


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except OSError:
        pass


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass  # it has just gone


def _clear(leader: int) -> int:
    """Kill what the leader left behind, then reap it and return its status."""
    _signal_group(leader, signal.SIGKILL)
    _kill_stragglers(leader)
    result = os.waitid(os.P_PID, leader, os.WEXITED)
    if result is None:  # only with WNOHANG
        return 1
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def _kill_stragglers(leader: int) -> None:
    """Return when none runs any more; after a second, whatever does."""
    deadline = time.monotonic() + VANISH_SECONDS
    while (members := _members(leader)) and time.monotonic() < deadline:
        # All of them each time: one may have forked just before it was killed.
        for pid in members:
            _signal(pid, signal.SIGKILL)
        time.sleep(0.002)


def _members(leader: int) -> list[int]:
    """The running processes beside the guard: of its own session, else of the leader's group.

    To be asked before the leader is reaped: afterwards its number may become a stranger's.
    """
    guard = os.getpid()
    if os.getsid(0) == guard:
        found = [pid for pid in _processes() if pid != guard and _session(pid) == guard]
    else:  # whoever began the session is in it too, with all that is theirs
        found = [pid for pid in _processes() if _group(pid) == leader]
    return [pid for pid in found if _runs(pid)]


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208  # as below
    except OSError:
        return []  # without /proc, the leader's group is all that is known


# The kernel is asked, not /proc/PID/stat: with 1,000 processes it takes 0.4 ms (measured), not 12.
def _session(pid: int) -> int:
    """0 when the process is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _group(pid: int) -> int:
    """0 when the process is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # pathlib costs 10 ms a start
            state = file.read().rpartition(b")")[2].split()[0]
    except OSError:
        return False  # it has just gone
    # The dead stay until their new parent reaps them, which in a container may be never.
    return state not in (b"Z", b"X")


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # to take the interpreter down costs 2 ms (measured), for nothing
