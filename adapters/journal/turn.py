"""Whose turn it is to deploy a tenant: at once or not at all, after a wait, or the newest only."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deployer.adapters.journal.lock import LockedError, locked
from deployer.errors import BusyError, SupersededError
from deployer.events import Waiting
from deployer.ports import Clock
from deployer.run import OnLock

WAIT_SECONDS: Final = 1800.0  # for other runs; a longer one is for a person to look at
PAUSE_SECONDS: Final = 0.5
# After kill -9 a child that has not called exec yet has the lock's file open for milliseconds
# (measured): a resume in that moment is no second run.
LINGER_SECONDS: Final = 0.3
LINGER_PAUSE: Final = 0.02
_DIGITS: Final = 12  # of a ticket: a fixed width is overwritten in one piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One process's wish to deploy a tenant."""

    tenant: str
    lock: Path
    note: str  # for those who come meanwhile
    on_lock: OnLock
    clock: Clock
    tell: Callable[[Waiting], None]

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the tenant. Raises BusyError, or SupersededError where a newer process waits."""
        lock = await self._taken()
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    async def _taken(self) -> AbstractContextManager[None]:
        """The lock, entered."""
        ticket = drawn(self._queue, newest=self.on_lock is OnLock.REPLACE)
        patience = LINGER_SECONDS if self.on_lock is OnLock.FAIL else WAIT_SECONDS
        deadline = self.clock.monotonic() + patience
        told = ""
        while True:
            lock = locked(self.lock, self.note)
            try:
                lock.__enter__()
            except LockedError as error:
                holder = str(error)
            else:
                return lock
            left = deadline - self.clock.monotonic()
            if left <= 0:
                raise BusyError(self.tenant, holder)
            if self.on_lock is not OnLock.FAIL and holder != told:
                self.tell(Waiting(what=f"another run of the tenant ({holder})", seconds=left))
                told = holder
            await self._pause(ticket)

    async def _pause(self, ticket: int) -> None:
        if self.on_lock is OnLock.FAIL:
            await self.clock.sleep(LINGER_PAUSE)
            return
        if drawn(self._queue) > ticket:
            raise SupersededError(f"a newer run of tenant {self.tenant} waits; this one gave up")
        await self.clock.sleep(PAUSE_SECONDS)

    @property
    def _queue(self) -> Path:
        return self.lock.with_suffix(".queue")


def drawn(queue: Path, *, newest: bool = False) -> int:
    """The number of the newest run that replaces older ones; with `newest`, the next number."""
    handle = os.open(queue, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        text = os.pread(handle, _DIGITS, 0)
        number = int(text) if text.isdigit() else 0
        if newest:  # Two that draw at once may share a number: then neither gives up.
            number += 1
            os.pwrite(handle, f"{number:0{_DIGITS}}".encode(), 0)
        return number
    finally:
        os.close(handle)
