"""The processes of one session, as the kernel lists them in /proc."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
# Fields of /proc/PID/stat behind the name, which may itself hold spaces and brackets (proc(5)).
_STATE, _SESSION, _USER, _SYSTEM = 0, 3, 11, 12
ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Member:
    """A process, and the CPU time it has used, in seconds."""

    pid: int
    cpu: float


def members(session: int) -> frozenset[Member]:
    """The living processes of `session`; empty where the kernel keeps no /proc."""
    return frozenset(_members(session))


def kill(session: int) -> None:
    """KILL each process of `session`: for when its guard can no longer do it."""
    # Not at one stroke: a shell whose child is killed first may start another one.
    for _ in range(ROUNDS):
        found = members(session)
        if not found:
            return
        for member in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(member.pid, signal.SIGKILL)


def _members(session: int) -> Iterator[Member]:
    ticks = os.sysconf("SC_CLK_TCK")
    with suppress(FileNotFoundError), os.scandir(PROC) as entries:
        for entry in entries:
            fields = _stat(entry.path) if entry.name.isdecimal() else ()
            if fields and int(fields[_SESSION]) == session and fields[_STATE] not in "ZX":
                cpu = (int(fields[_USER]) + int(fields[_SYSTEM])) / ticks
                yield Member(int(entry.name), cpu)


def _stat(process: str) -> tuple[str, ...]:
    """The fields behind the name; none when the process is gone already."""
    try:
        text = Path(process, "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ()
    return tuple(text.rpartition(")")[2].split())
