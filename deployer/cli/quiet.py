"""No talk while a run goes on: `-q`."""

from typing import Final

from deployer.cli.output import Out
from deployer.events import Event


class Quiet:
    """Only notes and the closing lines are shown."""

    tick_seconds: Final = 60.0

    def __init__(self, err: Out) -> None:
        """Notes go to `err`."""
        self._err = err

    def event(self, event: Event) -> None:
        """Say nothing."""

    def tick(self, wall: float) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say it: somebody pressed Ctrl-C."""
        self._err.line(text)

    def close(self) -> None:
        """Nothing is open."""
