"""Watches a running cargo: is it alive, does it wait for another one, is the disk full."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from deployer.adapters.process import session
from deployer.failures import Kind

VMSTAT: Final = Path("/proc/vmstat")
# cargo itself wakes twice a second while it waits for a compiler that hangs.
IDLE_SHARE: Final = 0.01  # of one core
LOOKS: Final = 60  # at a session, within the time that it may be silent: each reads all of /proc


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long cargo may stand still, in seconds."""

    silent: float = 900.0  # no output and no CPU time
    locked: float = 600.0  # behind other cargos, in all
    sample: float = 0.5  # between two looks at the system


@dataclass(frozen=True, slots=True)
class Look:
    """A session at one moment, on the loop's clock."""

    at: float
    members: frozenset[session.Member]


def worked(before: Look, after: Look) -> bool:
    """Whether the session did something between two looks; also true where nobody can tell."""
    if not after.members or _pids(before) != _pids(after):
        return True
    used = _cpu(after) - _cpu(before)
    return used > IDLE_SHARE * (after.at - before.at)


def _pids(look: Look) -> frozenset[int]:
    return frozenset(member.pid for member in look.members)


def _cpu(look: Look) -> float:
    return sum(member.cpu for member in look.members)


class BuildWatch:
    """Follows the cargos of one build, one after another."""

    def __init__(self, patience: Patience, target: Path) -> None:
        """Watch builds into `target`."""
        self.verdict: Kind | None = None  # why the cargo was ended, if this watch ended it
        self.least_free: int | None = None  # bytes
        self._patience: Final = patience
        self._target: Final = target
        self._thread: Final = anyio.CapacityLimiter(1)
        self._alive_at = 0.0
        self._is_locked = False
        self._locked_seconds = 0.0  # behind other cargos so far
        self._look: Look | None = None

    def heard(self) -> None:
        """Something came from cargo: it lives, and waits for no lock any more."""
        self._alive_at = anyio.current_time()
        self._is_locked = False

    def blocked(self) -> float:
        """cargo waits for another one; return for how many seconds more it may."""
        self.heard()
        self._is_locked = True
        return max(0.0, self._patience.locked - self._locked_seconds)

    async def follow(self, pid: int) -> None:
        """Return when patience with the session `pid` is over; `verdict` says why."""
        self.heard()
        self._look = None
        # No look at the session yet: a cargo with nothing to do is gone before it would matter, and
        # each look reads all of /proc, 2 to 3 ms (measured).
        await self._measure_disk()
        while self.verdict is None:
            began = anyio.current_time()
            await anyio.sleep(self._patience.sample)
            # Before the verdict: this process may itself have stood still (Ctrl-Z, a closed lid),
            # and then neither heard nor saw what cargo did meanwhile.
            await self._look_around(pid)
            if self._is_locked:
                self._locked_seconds += anyio.current_time() - began
            self.verdict = self._judge()

    async def _look_around(self, pid: int) -> None:
        await self._measure_disk()
        await self._look_at(pid)

    async def _measure_disk(self) -> None:
        # A dead network disk would keep the thread for ever, and must not keep us.
        await to_thread.run_sync(self._sample_disk, abandon_on_cancel=True, limiter=self._thread)

    def _judge(self) -> Kind | None:
        if self._locked_seconds > self._patience.locked:
            return Kind.CARGO_LOCKED
        # Up to the last look: whether cargo has worked since, nobody knows.
        silent = self._look.at - self._alive_at if self._look else 0.0
        is_silent = not self._is_locked and silent > self._patience.silent
        return Kind.BUILD_STALLED if is_silent else None

    async def _look_at(self, pid: int) -> None:
        before, now = self._look, anyio.current_time()
        if before is not None and now - before.at < self._patience.silent / LOOKS:
            return
        members = await to_thread.run_sync(
            session.members, pid, abandon_on_cancel=True, limiter=self._thread
        )
        self._look = Look(now, members)
        if before is None or worked(before, self._look):
            self._alive_at = now

    def _sample_disk(self) -> None:
        with suppress(OSError):
            free = free_space(self._target)
            self.least_free = free if self.least_free is None else min(free, self.least_free)


def free_space(folder: Path) -> int:
    """Bytes that may still be written below `folder`, which need not exist yet."""
    disk = os.statvfs(folder if folder.exists() else folder.parent)
    return disk.f_bavail * disk.f_frsize


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it booted."""
    with suppress(OSError):
        for line in VMSTAT.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
