"""What one cargo has said so far: the events it means, and the evidence it leaves. No I/O."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deployer.adapters.cargo.failures import Evidence
from deployer.adapters.cargo.messages import (
    Artifact,
    Diagnostic,
    Finished,
    Message,
    ScriptRun,
    awaited_lock,
    bar_total,
    is_bar,
    parse,
)
from deployer.adapters.cargo.prose import Prose
from deployer.adapters.text import clean, clean_output, decode, shortened
from deployer.events import OutputLine, Progress

TAIL_LINES: Final = 40
ERRORS_MAX: Final = 50
READ_MAX: Final = 8192  # characters of a line of prose that are searched for signs


@dataclass(frozen=True, slots=True)
class Named:
    """Cargo has named a program that is there."""

    path: Path  # absolute


@dataclass(frozen=True, slots=True)
class LockAwaited:
    """Another cargo holds `what`; nothing moves until it is done."""

    what: str


class Transcript:
    """Takes the lines of one cargo, in the order in which they came."""

    def __init__(self) -> None:
        """Begin empty."""
        self.artifacts: list[Artifact] = []
        self.finished: bool | None = None
        self._errors: list[Message] = []
        self._error_count = 0
        self._prose: Final = Prose()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._done = 0
        self._total: int | None = None

    def hear_stdout(self, line: bytes) -> Iterator[OutputLine | Progress | Named]:
        """Take a line of stdout: a message of cargo, or what build code prints there."""
        match parse(line):
            case Artifact() as artifact:
                if artifact.executable is not None:
                    self.artifacts.append(artifact)
                    yield Named(Path(artifact.executable))
                yield self._one_more()
            case ScriptRun():
                yield self._one_more()
            case Diagnostic(message=message):
                yield from self._diagnostic(message)
            case Finished(success=success):
                self.finished = success
            case None if not line.startswith(b'{"reason":'):
                yield from self._say(decode(line))

    def hear_stderr(self, line: bytes) -> Iterator[OutputLine | Progress | LockAwaited]:
        """Take a line of stderr: prose, or a state of the progress bar."""
        text = shortened(decode(line), READ_MAX)
        if is_bar(text):
            yield from self._bar_moved(text)
        elif lock := awaited_lock(text):
            yield from self._say(text)
            yield LockAwaited(clean(lock))
        else:
            self._prose.read(text)
            yield from self._say(text)

    def evidence(
        self, status: int, *, least_free: int | None = None, oom_kills: int = 0
    ) -> Evidence:
        """All that is known of this cargo, which ended with `status`.

        `least_free`: the fewest bytes that `target/` had meanwhile. `oom_kills`: how many
        processes the kernel killed for want of memory meanwhile, on the whole machine.
        """
        return Evidence(
            status=status,
            finished=self.finished,
            errors=tuple(self._errors),
            error_count=self._error_count,
            signs=dict(self._prose.signs),
            complaint=self._prose.complaint,
            root_cause=self._prose.root_cause,
            tail=self.tail,
            least_free=least_free,
            oom_kills=oom_kills,
        )

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, cleaned."""
        return tuple(self._tail)

    def _one_more(self) -> Progress:
        self._done += 1
        return Progress(what="crates", done=self._done, total=self._total)

    def _bar_moved(self, bar: str) -> Iterator[Progress]:
        total = bar_total(bar)
        if total is not None and total != self._total:
            self._total = total
            yield Progress(what="crates", done=self._done, total=total)

    def _diagnostic(self, message: Message) -> Iterator[OutputLine]:
        # "aborting due to 2 previous errors" is one of level `error` itself.
        if message.level.startswith("error") and not message.message.startswith("aborting due to"):
            self._error_count += 1
            if len(self._errors) < ERRORS_MAX:
                self._errors.append(message)
        for line in (message.rendered or message.message).splitlines():
            yield from self._say(line, clean_output)

    def _say(self, text: str, cleaned: Callable[[str], str] = clean) -> Iterator[OutputLine]:
        if line := cleaned(text):
            self._tail.append(line)
            yield OutputLine(source="cargo", text=line)
