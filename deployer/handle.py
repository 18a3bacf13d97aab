"""A deploy that runs in the background of its caller."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from deployer.events import Event
from deployer.result import DeployResult
from deployer.states.grace import unwrapped
from deployer.stream import EventStream
from deployer.telling import OnEvent


class DeployHandle:
    """What `Deployer.start` yields: the events, the result, and a way to stop."""

    def __init__(self) -> None:
        self.events = EventStream()
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._result: DeployResult | None = None

    async def follow(self, work: Callable[[], Awaitable[DeployResult]]) -> None:
        """Carry the run; called once, by `Deployer.start`."""
        try:
            with self._scope:
                self._result = await work()
        finally:
            self.events.close()
            self._ended.set()

    def tell(self, event: Event) -> None:
        """Queue an event for the reader."""
        self.events.put(event)

    def cancel(self) -> None:
        """Stop the run; it stays in the journal and can be resumed."""
        self._scope.cancel()

    async def result(self) -> DeployResult | None:
        """Wait for the end; None when the run was cancelled."""
        await self._ended.wait()
        return self._result


@asynccontextmanager
async def in_background(
    work: Callable[[OnEvent], Awaitable[DeployResult]],
) -> AsyncIterator[DeployHandle]:
    """Run `work`, which tells its events to the handle, until the block and the work have ended."""
    handle = DeployHandle()
    with unwrapped():
        async with anyio.create_task_group() as group:
            group.start_soon(handle.follow, lambda: work(handle.tell))
            yield handle
