"""Nobody works ahead: an engine takes the image whole, and once Building is over all is there."""

from pathlib import Path


class Idle:
    """Fits `ports.Ahead`, and does nothing."""

    async def work(self) -> None:
        """Do nothing."""

    def built(self, path: Path) -> None:
        """Do nothing."""

    async def finish(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
