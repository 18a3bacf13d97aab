"""The machine's clocks."""

import time

import anyio


class SystemClock:
    """Wall time for people, monotonic time for durations, and anyio's sleep."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()  # noqa: TID251  # this is the injected clock

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        await anyio.sleep(seconds)
