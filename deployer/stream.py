"""Events for a reader that may be slow, or gone."""

from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import anyio

from deployer.events import Event

WAITING_MAX: Final = 1000  # transient events that wait for a slow reader


class EventStream:
    """A queue between a run and one reader. Durable events are never dropped."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = anyio.Event()
        self._closed = False
        self.dropped = 0  # transient events that a slow reader missed

    def put(self, event: Event) -> None:
        """Queue `event`; never blocks, never raises."""
        if event.seq is None and len(self._events) >= WAITING_MAX:
            self.dropped += 1
            return
        self._events.append(event)
        self._news.set()

    def close(self) -> None:
        """End the reader's iteration after what is queued."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events as they come, until the run is over."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._news = anyio.Event()
            await self._news.wait()
