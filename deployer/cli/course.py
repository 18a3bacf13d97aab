"""Where a run is: its events folded into what a person wants to see now. Pure: the clock is passed in."""

from deployer.cli import wording
from deployer.events import (
    Body,
    Event,
    OutputLine,
    Progress,
    Retrying,
    RunResumed,
    StateEntered,
    Waiting,
)
from deployer.states.flow import State


class Course:
    """The state of the display, for any renderer."""

    def __init__(self, now: float) -> None:
        """Begin at `now`, in seconds on a monotonic clock."""
        self.run: str | None = None
        self.state: State | None = None
        self.since = now  # when the state was entered
        self.last_line: str | None = None  # of a tool's output
        self._progress: dict[str, Progress] = {}
        self._waiting: Waiting | Retrying | None = None

    def see(self, event: Event, now: float) -> None:
        """Take in what happened."""
        self.run = event.run or self.run
        self._take(event.body, now)

    def _take(self, body: Body, now: float) -> None:
        match body:
            case StateEntered() | RunResumed():
                self.state, self.since = body.state, now
                self._progress, self._waiting, self.last_line = {}, None, None
            case Progress():
                self._progress[body.what] = body
                self._waiting = None
            case OutputLine():
                self.last_line, self._waiting = body.text, None
            case Waiting() | Retrying():
                self._waiting = body
            case _:
                pass

    def seconds(self, now: float) -> float:
        """How long the state has been going on."""
        return max(0.0, now - self.since)

    def summary(self, now: float) -> str:
        """What is going on, in a few words, without the state's name."""
        match self._waiting:
            case Retrying() as again:
                return wording.retrying(again)
            case Waiting() as waiting:
                return wording.waiting(waiting)
            case None:
                return self._progress_words(self.seconds(now))

    def _progress_words(self, seconds: float) -> str:
        counted = tuple(each for each in self._progress.values() if each.unit == "items")
        moved = tuple(each for each in self._progress.values() if each.unit == "bytes")
        parts = [wording.items(each) for each in counted]
        if moved:
            parts.append(wording.transfer(moved, seconds))
        return " · ".join(parts) or self.last_line or "working"
