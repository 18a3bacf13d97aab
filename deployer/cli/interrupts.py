"""Which signals end the command line, and with which exit code."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_SIGNAL: Final = 128  # the shells' rule: 130, 143, 129


def interrupted_code(number: int) -> int:
    """The exit code of a process that `number` stopped."""
    return _BY_SIGNAL + number


def watched() -> tuple[signal.Signals, ...]:
    """The ending signals that nobody told us to ignore: `nohup` does, and so do shells with `&`."""
    return tuple(each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN)


def exit_at_once(last_word: Callable[[int], None] = lambda _number: None) -> None:
    """From now on these signals end the process: nothing is under way that wants cleaning up.

    `last_word` is called with the signal's number before, and must neither wait nor import.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  # signal's interface
        try:
            last_word(number)
        finally:
            os._exit(interrupted_code(number))

    for number in watched():
        signal.signal(number, end)


def ignore() -> None:
    """Let no signal change an exit code that is decided."""
    # Python's own end puts the default handlers back, but leaves an ignored signal ignored.
    for number in watched():
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Put the handlers back that an event loop replaces and, at its end, resets to the default."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not from Python; it cannot be put back
                signal.signal(number, handler)
