"""Runs a program where no engine can be had: `bare.py [WORD …] -- PROGRAM …`.

What runs loses the right to make namespaces, as root does in an ordinary container of a CI system;
it sees an empty /run, so no engine's socket. `offline` leaves it loopback only, `powerless` takes
root's way around the permissions of files, `ordinary` makes it an ordinary user who owns the same
files.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

NEWNS, NEWUSER, NEWNET = 0x00020000, 0x10000000, 0x40000000
PRIVATE = 0x4000 | 0x40000
CAPBSET_DROP = 24
DAC_OVERRIDE, DAC_READ_SEARCH, SYS_ADMIN = 1, 2, 21
ORDINARY = 1000  # a user's number
SIOCSIFFLAGS, IFF_UP = 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def become_ordinary(uid: int, gid: int) -> None:
    """Another number for the same user, without any right after the next exec."""
    checked(libc.unshare(NEWUSER), "unshare")
    for name, text in {
        "setgroups": "deny",
        "uid_map": f"{ORDINARY} {uid} 1",
        "gid_map": f"{ORDINARY} {gid} 1",
    }.items():
        with Path("/proc/self", name).open("w") as file:
            file.write(text)


def main(words: list[str]) -> None:
    split = words.index("--")
    how, program = words[:split], words[split + 1 :]
    checked(libc.unshare(NEWNS | (NEWNET if "offline" in how else 0)), "unshare")
    checked(libc.mount(b"none", b"/", None, PRIVATE, None), "mount /")
    checked(libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None), "mount /run")
    if "offline" in how:
        loopback_up()
    lost = [SYS_ADMIN, *([DAC_OVERRIDE, DAC_READ_SEARCH] if "powerless" in how else [])]
    for capability in lost:
        checked(libc.prctl(CAPBSET_DROP, capability, 0, 0, 0), "prctl")
    if "ordinary" in how:
        become_ordinary(os.getuid(), os.getgid())
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
