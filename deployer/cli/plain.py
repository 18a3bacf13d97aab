"""The talk of a run as lines that are only ever appended: for logs, pipes and CI."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from deployer.cli import github, wording
from deployer.cli.course import Course
from deployer.cli.output import Out, Style
from deployer.cli.wording import Line
from deployer.events import (
    Body,
    BuilderChosen,
    Durable,
    Event,
    IntentRecorded,
    OutputLine,
    Retrying,
    RunOpened,
    RunResumed,
    StateEntered,
    StateFinished,
    StateRewound,
    Waiting,
    Warned,
)
from deployer.states.flow import State

SILENCE_MAX: Final = 10.0  # seconds; CI services end jobs that say nothing, and people do too
TICK: Final = 1.0  # seconds between looks at the clock


class PlainLines:
    """One line a change, else one every 10 s."""

    tick_seconds: Final = TICK

    def __init__(
        self, err: Out, monotonic: Callable[[], float], *, verbose: bool, grouped: bool
    ) -> None:
        """Write to `err`; `grouped`: with the groups of GitHub Actions."""
        self._err = err
        self._monotonic = monotonic
        self._verbose = verbose
        self._grouped = grouped
        self._open_group = False
        self._course = Course(monotonic())
        self._said = monotonic()

    def event(self, event: Event) -> None:
        """Tell of a change at once; progress waits for the heartbeat."""
        now = self._monotonic()
        self._course.see(event, now)
        if isinstance(event.body, StateEntered) and self._grouped:
            self._group(event.body.state)
        for text, style in self._lines(event.body):
            self._line(f"{_clock(event.at)} {_state(event):<14} {text}", style)
        if isinstance(event.body, StateFinished):
            self._end_group()

    def tick(self, wall: float) -> None:
        """Say what is going on if nothing was said for 10 s. `wall`: seconds since the epoch."""
        now = self._monotonic()
        if now - self._said < SILENCE_MAX:
            return
        state = self._course.state or "starting"
        since = wording.duration(self._course.seconds(now))
        self._line(f"{_clock(wall)} {state:<14} {self._course.summary(now)} ({since})")

    def note(self, text: str) -> None:
        """Say something that is no event."""
        self._line(text, Style.WARN)

    def close(self) -> None:
        """The run is over; closing lines follow."""
        self._end_group()

    def _lines(self, body: Body) -> Iterator[Line]:
        match body:
            case RunOpened():
                yield Line(f"run {self._course.run}, tag {body.tag}")
            case RunResumed():
                yield Line(f"run {self._course.run} goes on (resume {body.resumes})")
            case Waiting() | Retrying():
                yield Line(self._course.summary(self._monotonic()))
            case OutputLine() if self._verbose:
                yield Line(f"{body.source}| {body.text}", Style.DIM)
            case BuilderChosen():
                yield Line(f"builder {body.builder}: {body.why}")
            case Warned():
                yield Line(f"warning: {body.text}", Style.WARN)
            case _:
                yield from _of_state(body)

    def _line(self, text: str, style: Style = Style.PLAIN) -> None:
        self._err.line(github.foreign(text) if self._grouped else text, style)
        self._said = self._monotonic()

    def _group(self, name: str) -> None:
        self._end_group()
        self._err.line(github.group(name))
        self._open_group = True

    def _end_group(self) -> None:
        if self._open_group:
            self._err.line(github.END_GROUP)
        self._open_group = False


def _state(event: Event) -> State:
    """The state that an event is about; the run may be in the next one by now."""
    return event.body.state if isinstance(event.body, Durable) else event.state


def _clock(wall: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall))


def _of_state(body: Body) -> Iterator[Line]:
    match body:
        case StateEntered():
            yield Line("begins", Style.DIM)
        case StateFinished():
            took = wording.duration(body.seconds)
            yield Line(f"{wording.finished(body.state, body.facts)} ({took})", Style.GOOD)
        case StateRewound():
            yield Line(f"back to {body.to}: {body.reason}", Style.WARN)
        case IntentRecorded():
            yield Line(f"asking the Management API to run {body.image}")
        case _:
            pass
