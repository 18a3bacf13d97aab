"""Blocking work beside the event loop."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """What `work` returns, from a thread of its own: the default limiter is the host's."""
    return await to_thread.run_sync(work, limiter=CapacityLimiter(1))
