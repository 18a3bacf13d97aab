"""Work that is not cut in the middle when its run is cancelled."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise a task group's only exception as itself: callers catch what they know by name."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from group.exceptions[0].__cause__


async def with_grace(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Run `work`; once this scope is cancelled, let it go on for `seconds`, then cut it.

    The cancellation is raised afterwards in either case, so the caller's own scope sees it.
    """
    shield = anyio.CancelScope(shield=True)

    async def shielded() -> None:
        with shield:
            await work()
        waiting.cancel_scope.cancel()

    with unwrapped():
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(shielded)
            try:
                await anyio.sleep_forever()
            finally:
                # Reached when the work is done, or when somebody cancels: then the clock runs.
                shield.deadline = anyio.current_time() + seconds
