"""Starts an innocent process that has a certain process id, and tells whether it was left alone.

`python -I -S namesake.py PID`, the standard library only, one thread. Says `born` or why not;
then, when its stdin ends, `alive` or `dead`.
"""

import ctypes
import os
import signal
import sys

CLONE3 = 435  # on each architecture
SIZE = 11  # 64-bit words of struct clone_args; clone3(2)
EXIT_SIGNAL, SET_TID, SET_TID_SIZE = 4, 8, 9


def born(pid: int) -> int:
    """Fork, as `pid`; 0 in the child. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = ctypes.c_int32(pid)
    words = [0] * SIZE
    words[EXIT_SIGNAL] = signal.SIGCHLD
    words[SET_TID], words[SET_TID_SIZE] = ctypes.addressof(wanted), 1
    arguments = (ctypes.c_uint64 * SIZE)(*words)
    child: int = libc.syscall(CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if child < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return child


def main(pid: int) -> None:
    try:
        child = born(pid)
    except OSError as error:
        os.write(1, f"{error.strerror}\n".encode())
        return
    if child == 0:
        os.execv("/bin/sleep", ["sleep", "120"])
    os.write(1, b"born\n")
    os.read(0, 1)
    os.write(1, b"alive\n" if os.waitpid(child, os.WNOHANG)[0] == 0 else b"dead\n")
    os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
