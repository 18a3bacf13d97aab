"""What an engine says while it builds or pushes, turned into events and into the one proof.

A stream that merely ends proves nothing: a killed engine ends it the same way (measured).
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Final

from deployer.adapters.text import LINE_MAX, clean
from deployer.events import OutputLine, Progress, Waiting
from deployer.names import Digest, ImageId, or_none, parse_digest, parse_image_id
from deployer.ports import Emit

Line = object  # decoded JSON: an object, if the engine is one

_TAIL: Final = 20  # lines kept for a failure's details
_TICK: Final = 0.1  # seconds between two Progress events
_STEP: Final = re.compile(r"(?:\[\d+/\d+\] )?step (\d+)/(\d+)\s*:", re.IGNORECASE)
_RETRY: Final = re.compile(r"Retrying in (\d+) second")
# podman sends no `aux`; dockerd sends both.
_DIGEST_STATUS: Final = re.compile(r"\S+: digest: (sha256:[0-9a-f]{64}) size: \d+")
_TAKEN: Final = ("Pushed", "Layer already exists", "Mounted from")


class Teller:
    """Emits lines as they come, and Progress ten times a second at most."""

    def __init__(self, emit: Emit, now: Callable[[], float]) -> None:
        """Emit through `emit`; `now` is a monotonic clock in seconds."""
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._emit = emit
        self._now = now
        self._due = 0.0
        self._waiting: dict[str, Progress] = {}
        self._told: dict[str, Progress] = {}

    def line(self, text: str) -> None:
        """Tell one line of the engine, unless nothing of it can be seen."""
        if shown := clean(text):
            self.tail.append(shown)
            self._emit(OutputLine(source="engine", text=shown))

    def progress(self, progress: Progress) -> None:
        """Tell how far something is; its first and its last word are never held back."""
        if progress == self._told.get(progress.what):
            return
        if progress.what not in self._told or progress.done == progress.total:
            self._waiting.pop(progress.what, None)
            self._tell(progress)
            return
        # One that waits keeps its place, or a fast layer would hide a slow one.
        self._waiting[progress.what] = progress
        if self._now() >= self._due:
            self._due = self._now() + _TICK
            self._tell(self._waiting.pop(next(iter(self._waiting))))

    def _tell(self, progress: Progress) -> None:
        self._told[progress.what] = progress
        self._emit(progress)

    def waiting(self, waiting: Waiting) -> None:
        """Tell that nothing moves for a while."""
        self._emit(waiting)


class BuildStream:
    """Follows a build. `image_id` is the engine's last word on what it made."""

    def __init__(self, teller: Teller) -> None:
        """Tell through `teller`."""
        self.image_id: ImageId | None = None
        self._teller = teller
        self._begun = ""  # a line whose end has not come yet
        self._steps = 0

    def take(self, line: Line) -> None:
        """Understand one line of the stream."""
        match line:
            case {"aux": {"ID": str(reported)}}:
                self.image_id = or_none(parse_image_id, reported)
            case {"stream": str(text)}:
                self._output(text)
            case {"status": str(), "id": str(layer), "progressDetail": {"current": int(done)}}:
                self._teller.progress(_layer(line, layer, done))

    def flush(self) -> None:
        """Tell a last line that has no end."""
        self._output("\n")

    def finish(self) -> None:
        """Tell that each step is done."""
        if self._steps:
            self._teller.progress(Progress(what="steps", done=self._steps, total=self._steps))

    def _output(self, text: str) -> None:
        *lines, self._begun = (self._begun + text).split("\n")
        if len(self._begun) > LINE_MAX:
            lines.append(self._begun)
            self._begun = ""
        for line in lines:
            self._step(line)
            self._teller.line(line)

    def _step(self, line: str) -> None:
        if step := _STEP.match(line):
            self._steps = int(step[2])
            # The step that is named here begins: those before it are done.
            done = int(step[1]) - 1
            self._teller.progress(Progress(what="steps", done=done, total=self._steps))


class PushStream:
    """Follows a push. `digest` is what the engine says the registry took."""

    def __init__(self, teller: Teller) -> None:
        """Tell through `teller`."""
        self.digest: Digest | None = None
        self.moved = False  # the registry took bytes or layers, so it took the login
        self.complete = False  # the stream's last word was said
        self._teller = teller
        self._totals: dict[str, int] = {}
        self._pauses: dict[str, int] = {}

    def take(self, line: Line) -> None:
        """Understand one line of the stream."""
        match line:
            case {"aux": {"Digest": str(reported)}}:
                self.digest = or_none(parse_digest, reported) or self.digest
                self.complete = self.digest is not None
            case {"status": "Pushing", "id": str(layer), "progressDetail": {"current": int(done)}}:
                self._pushing(line, layer, done)
            case {"status": str(status), "id": str(layer)}:
                self._layer(status, layer)
            case {"status": str(status)}:
                self._status(status)

    def _pushing(self, line: Line, layer: str, done: int) -> None:
        self.moved |= done > 0
        self._pauses.pop(layer, None)
        progress = _layer(line, layer, done)
        if progress.total is not None:
            self._totals[layer] = progress.total
        self._teller.progress(progress)

    def _layer(self, status: str, layer: str) -> None:
        if retry := _RETRY.match(status):
            self._pause(layer, int(retry[1]))
        elif status.startswith(_TAKEN):
            self.moved = True
            self._pauses.pop(layer, None)
            if total := self._totals.get(layer):
                self._teller.progress(_done(layer, total))
            self._teller.line(f"{layer}: {status}")

    def _status(self, status: str) -> None:
        if found := _DIGEST_STATUS.fullmatch(status.strip()):
            self.digest = or_none(parse_digest, found[1])
        self._teller.line(status)

    def _pause(self, layer: str, seconds: int) -> None:
        """Tell a pause when it begins: the engine counts each second of it, for each layer."""
        told = any(left > 1 for left in self._pauses.values())
        begins = seconds > self._pauses.get(layer, 0)
        self._pauses[layer] = seconds
        if begins and not told:
            what = f"the engine, to send layer {clean(layer)} again"
            self._teller.waiting(Waiting(what=what, seconds=float(seconds)))


def _layer(line: Line, layer: str, done: int) -> Progress:
    match line:
        case {"progressDetail": {"total": int(total)}} if total > 0:
            # The engine counts tar padding in what it sent, but not in the total.
            return Progress(
                what=f"layer {clean(layer)}", done=min(done, total), total=total, unit="bytes"
            )
    return Progress(what=f"layer {clean(layer)}", done=done, total=None, unit="bytes")


def _done(layer: str, total: int) -> Progress:
    return Progress(what=f"layer {clean(layer)}", done=total, total=total, unit="bytes")
