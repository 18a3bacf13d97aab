"""The talk of a run on a terminal: one line a state, the last of them alive."""

import io
from collections.abc import Callable
from typing import IO, Final, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deployer.cli import wording
from deployer.cli.course import Course
from deployer.cli.output import Out
from deployer.events import (
    Body,
    BuilderChosen,
    Event,
    RunFailed,
    RunInterrupted,
    RunOpened,
    RunResumed,
    StateFinished,
    StateRewound,
    Warned,
)
from deployer.states.flow import State

TICK: Final = 0.125  # seconds
FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_NAME_WIDTH: Final = max(len(state) for state in State)
# The terminal echoes ^C where the cursor is; past the last column, it would push the line up.
_ECHO_WIDTH: Final = 3
_STYLES: Final = {"✓": "green", "✗": "bold red", "!": "yellow", "↺": "yellow", "·": "dim"}


class _Screen(io.TextIOBase):
    """The terminal as rich's file. Rich ends the process when a write fails; ours never do."""

    encoding = "utf-8"

    def __init__(self, err: Out) -> None:
        self._err = err

    def write(self, text: str, /) -> int:
        """Write and flush."""
        self._err.write(text)
        return len(text)

    def isatty(self) -> bool:
        """It is one, or we would not be here."""
        return True


class LiveLines:
    """Finished states stay as lines; the present one is redrawn in place."""

    tick_seconds: Final = TICK

    def __init__(self, err: Out, monotonic: Callable[[], float], *, colour: bool) -> None:
        """Draw on `err`, a terminal."""
        # Nothing foreign is markup: only Text objects are printed.
        self._console = Console(
            file=cast("IO[str]", _Screen(err)),
            force_terminal=True,
            color_system="auto" if colour else None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._monotonic = monotonic
        self._course = Course(monotonic())
        self._frame = 0
        # No thread redraws: a repaint between two of our lines would tear them.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def event(self, event: Event) -> None:
        """Take in a change, and print the line of a state that ended."""
        self._course.see(event, self._monotonic())
        self._print(event.body)

    def tick(self, wall: float) -> None:  # noqa: ARG002  # the lines show durations, not times
        """Redraw the live line."""
        self._frame += 1
        self._live.update(self._present(), refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the live one."""
        self._row("!", "signal", text)

    def close(self) -> None:
        """Take the live line away and give the cursor back."""
        self._live.stop()

    def _print(self, body: Body) -> None:
        match body:
            case RunOpened():
                self._row("·", "run", f"{self._course.run} · {body.tag}")
            case RunResumed():
                self._row("·", "run", f"{self._course.run} goes on in {body.state}")
            case StateFinished():
                words = wording.finished(body.state, body.facts)
                self._row("✓", body.state, words, wording.duration(body.seconds))
            case StateRewound():
                self._row("↺", body.state, f"back to {body.to}: {body.reason}")
            case RunFailed():
                self._row("✗", body.failure.phase, f"{body.failure.kind.id} {body.failure.cause}")
            case RunInterrupted():
                self._row("!", body.state, "stopped")
            case _:
                self._note(body)

    def _note(self, body: Body) -> None:
        match body:
            case BuilderChosen():
                self._row("·", "builder", f"{body.builder}: {body.why}")
            case Warned():
                self._row("!", "warning", body.text)
            case _:
                pass

    def _row(self, mark: str, name: str, words: str, took: str = "") -> None:
        self._live.console.print(self._line(mark, _STYLES[mark], name, words, took))

    def _present(self) -> Table | Text:
        state, now = self._course.state, self._monotonic()
        if state is None:
            return Text("")
        frame = FRAMES[self._frame % len(FRAMES)]
        took = wording.duration(self._course.seconds(now))
        return self._line(frame, "cyan", state, self._course.summary(now), took)

    def _line(self, mark: str, style: str, name: str, words: str, took: str) -> Table:
        line = Table.grid(padding=(0, 1), expand=True)
        line.width = self._console.width - _ECHO_WIDTH
        line.add_column(width=3, justify="right")
        line.add_column(width=_NAME_WIDTH, no_wrap=True)
        line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        line.add_column(justify="right", no_wrap=True)
        line.add_row(Text(mark, style), Text(name), Text(words), Text(took, "dim"))
        return line
