"""An event loop on which waiting costs nothing: where only a timer is left, the clock jumps to it.

A stall of 60 s then takes milliseconds, and the product's own deadlines and pauses are tried as
they are. Servers and clients must live in this one loop. Work in threads is waited for; a child
process is not known of, and must not be started here.
"""

import asyncio  # noqa: TID251  # a loop of one's own is nothing that anyio offers
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import anyio.to_thread
import pytest

from deployer.adapters.clock import SystemClock

GRACE: Final = 0.01  # seconds in which the kernel has delivered whatever is on its way
_run_sync: Final = anyio.to_thread.run_sync


class _Selector(selectors.DefaultSelector):
    """Waits for events, and skips the wait for a timer when none come."""

    skipped = 0.0  # seconds
    threads = 0  # that work

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= GRACE or self.threads:
            return super().select(timeout)
        found = super().select(GRACE)
        if not found and not self.threads:
            self.skipped += timeout - GRACE
        return found


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop; `time()` runs with the machine's clock, and ahead of it."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return time.monotonic() + self._jumping.skipped

    def run_in_executor(  # type: ignore[override]  # its own types need Python 3.12's syntax
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Names are looked up there, even where they are addresses."""
        self.thread_begins()
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: self.thread_ends())
        return future

    def _sock_accept(self, fut: "asyncio.Future[Any]", sock: socket.socket) -> None:
        # Python 3.11 takes a connection, and loses it, for a wait that was cancelled in this turn.
        if not fut.done():
            super()._sock_accept(fut, sock)  # type: ignore[misc]  # private

    def thread_begins(self) -> None:
        self._jumping.threads += 1

    def thread_ends(self) -> None:
        self._jumping.threads -= 1

    @property
    def skipped(self) -> float:
        """Seconds that nobody waited for."""
        return self._jumping.skipped


BACKEND: Final = ("asyncio", {"loop_factory": SkippingLoop})


def _loop() -> SkippingLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    return loop


def skipped() -> float:
    """Seconds that were skipped so far on the running loop."""
    return _loop().skipped


async def _counted(func: Callable[..., Any], *args: Any, **options: Any) -> Any:
    loop = _loop()
    loop.thread_begins()
    try:
        return await _run_sync(func, *args, **options)
    finally:
        loop.thread_ends()


def wait_for_threads(patch: pytest.MonkeyPatch) -> None:
    """Let the loops of this test know when a thread works for them."""
    patch.setattr(anyio.to_thread, "run_sync", _counted)


class LoopClock(SystemClock):
    """The running loop's time, as the product's clock."""

    def __init__(self) -> None:
        self._loop = _loop()  # the journal asks from its thread

    def wall(self) -> float:
        return super().wall() + self._loop.skipped

    def monotonic(self) -> float:
        return self._loop.time()
