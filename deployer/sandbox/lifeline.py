"""Runs a program that ends with its owner, even when the owner is killed with -9.

Used as a script of its own, standard library only: `lifeline.py [DIR …] -- PROGRAM …`.
The owner holds the write end of our stdin. When it closes, the program gets SIGTERM and, after
GRACE seconds, SIGKILL.

With a DIR, the program lives in PID and mount namespaces of its own, with an empty tmpfs on each. An engine needs this: its shims leave every process group and session, and only the
kernel's rule that a PID namespace dies with its first process ends them all. The mounts end with
the last process, so that none is left on the machine.
"""

import ctypes
import os
import select
import signal
import sys
from typing import Final, NoReturn

GRACE: Final = 4.0  # seconds; the engine itself is told to stop its containers within 2

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWPID: Final = 0x20000000
MS_REC_PRIVATE: Final = 0x4000 | 0x40000
PR_SET_PDEATHSIG: Final = 1
NO_WORLD: Final = 69  # exit code: the kernel gives this user no namespaces

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(kind: str, target: str, flags: int = 0) -> None:
    name, where = kind.encode(), target.encode()
    _checked(_libc.mount(name, where, name, flags, None), f"mount {kind} on {target}")


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _exec(argv: list[str]) -> NoReturn:
    _die_with_parent()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # the program never sees the life line
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # there is no shell to want
    except OSError as error:
        os.write(2, f"lifeline: {argv[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _fork(argv: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        _exec(argv)
    return pid


def _be_init(argv: list[str], private: list[str]) -> NoReturn:
    """Be the first process of the new world: start the program, reap all, end with it."""
    _die_with_parent()
    try:
        _mount("none", "/", MS_REC_PRIVATE)
        _mount("proc", "/proc")
        for directory in private:
            os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103  # starts faster
            _mount("tmpfs", directory)
    except OSError as error:
        os.write(2, f"lifeline: {error.strerror}\n".encode())
        os._exit(NO_WORLD)
    program = _fork(argv)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(program, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(_exit_code(status))


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _start(argv: list[str], private: list[str]) -> int:
    if not private:
        return _fork(argv)
    try:
        _checked(_libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
    except OSError as error:
        os.write(2, f"lifeline: {error.strerror}\n".encode())
        sys.exit(NO_WORLD)
    pid = os.fork()
    if pid == 0:
        _be_init(argv, private)
    return pid


def _watch(pid: int) -> int:
    """Wait for the program's end or the owner's; return the exit code."""
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([0, ended], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGTERM)
        ready, _, _ = select.select([ended], [], [], GRACE)
        if not ready:
            os.kill(pid, signal.SIGKILL)
    return _exit_code(os.waitpid(pid, 0)[1])


def main(arguments: list[str]) -> int:
    """Run the program after `--` until it or the owner ends."""
    split = arguments.index("--")
    return _watch(_start(arguments[split + 1 :], private=arguments[:split]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
