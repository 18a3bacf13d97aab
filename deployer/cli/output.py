"""Our two output streams: closed under us, they fall silent; nothing fails for it."""

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Final, TextIO


class Style(StrEnum):
    """How a line is meant; without colours it reads the same."""

    PLAIN = ""
    GOOD = "32"
    BAD = "1;31"
    WARN = "33"
    DIM = "2"


class Out:
    """A stream that may be closed, full or missing."""

    def __init__(self, stream: TextIO | None) -> None:
        """Write to `stream`: None when the process was started without one."""
        self._stream = stream
        self._colour = False
        self.used = False  # whether anything was ever written

    @property
    def alive(self) -> bool:
        """Whether somebody may have read what was written."""
        return self._stream is not None

    @property
    def terminal(self) -> bool:
        """Whether it is one."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # closed
            return False

    def decide_colour(self, choice: str, environ: Mapping[str, str]) -> None:
        """Colour lines from now on, or do not: as the flag and the environment want it."""
        self._colour = wants_colour(choice, environ, terminal=self.terminal)

    def line(self, text: str, style: Style = Style.PLAIN) -> None:
        """Write one line and flush it; never raises for a stream that is gone."""
        painted = f"\x1b[{style}m{text}\x1b[0m" if self._colour and style else text
        self.write(f"{painted}\n")

    def write(self, text: str) -> None:
        """Write and flush; characters that the stream cannot encode become `?`."""
        if self._stream is None:
            return
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
            self.used = True
        except (OSError, ValueError):  # closed pipe, full disk; closed file
            self.silence()

    def silence(self) -> None:
        """Write no more. What is still buffered goes nowhere, or Python's exit would fail on it."""
        stream, self._stream = self._stream, None
        with suppress(OSError, ValueError):
            descriptor = stream.fileno() if stream else -1
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


class Printed(io.TextIOBase):
    """What click prints, a help page for one, on a stream that may be closed or full."""

    def __init__(self, out: Out) -> None:
        """Pass everything on to `out`."""
        self._out = out

    def write(self, text: str) -> int:
        """Write at once; never raises."""
        self._out.write(text)
        return len(text)

    def isatty(self) -> bool:
        """Whether it goes to a terminal."""
        return self._out.terminal


_OFF: Final = ("", "dumb")


def wants_colour(choice: str, environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to colour: the flag decides, then NO_COLOR, FORCE_COLOR and TERM."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return terminal and environ.get("TERM", "") not in _OFF
