"""What cargo says: JSON lines on stdout and prose on stderr, as values. Pure."""

import re
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

_BAR: Final = re.compile(r"\s*[A-Z][a-z]+ \[[=> ]*\]")
_BAR_COUNT: Final = re.compile(r"\] (\d{1,7})/(\d{1,7})\b")
_LOCKED: Final = re.compile(r"\s*Blocking waiting for file lock on (.+)")


class Target(msgspec.Struct, frozen=True):
    """What of a package was built."""

    name: str
    kind: tuple[str, ...] = ()


class Artifact(msgspec.Struct, frozen=True, tag_field="reason", tag="compiler-artifact"):
    """One target is built, or was up to date."""

    package_id: str
    target: Target
    executable: str | None = None
    fresh: bool = False


class ScriptRun(msgspec.Struct, frozen=True, tag_field="reason", tag="build-script-executed"):
    """A build script has run."""

    package_id: str


class Span(msgspec.Struct, frozen=True):
    """Where in the source."""

    file_name: str
    line_start: int
    column_start: int
    is_primary: bool = False


class Note(msgspec.Struct, frozen=True):
    """A message below another one; the linker's own words are in such."""

    message: str


class Code(msgspec.Struct, frozen=True):
    """The compiler's code, `E0308`, or a lint's name."""

    code: str


class Message(msgspec.Struct, frozen=True):
    """One diagnostic of rustc."""

    message: str
    level: str
    code: Code | None = None
    spans: tuple[Span, ...] = ()
    children: tuple[Note, ...] = ()
    rendered: str | None = None

    @property
    def place(self) -> str | None:
        """`core/src/main.rs:1:25`, of the first primary span."""
        for span in self.spans:
            if span.is_primary:
                return f"{span.file_name}:{span.line_start}:{span.column_start}"
        return None


class Diagnostic(msgspec.Struct, frozen=True, tag_field="reason", tag="compiler-message"):
    """rustc said something about a target."""

    message: Message


class Finished(msgspec.Struct, frozen=True, tag_field="reason", tag="build-finished"):
    """The last word of a build that was begun."""

    success: bool


CargoMessage = Artifact | ScriptRun | Diagnostic | Finished
_DECODER: Final[msgspec.json.Decoder[CargoMessage]] = msgspec.json.Decoder(CargoMessage)


def parse(line: bytes) -> CargoMessage | None:
    """The message in a line of stdout; None for one that is unknown to us or no message at all.

    Build code may print there too, so nothing about a line is taken for granted.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def package_name(package_id: str) -> str:
    """The package in an id: `path+file:///p/core#systemprompt@0.1.0`, `…/tools#0.1.0`.

    Before cargo 1.77 an id was `name version (source)`.
    """
    url, has_fragment, fragment = package_id.partition("#")
    if " " in package_id or not has_fragment:
        return package_id.partition(" ")[0]
    name, has_version, _version = fragment.partition("@")
    return name if has_version else unquote(PurePosixPath(urlsplit(url).path).name)


def is_bar(line: str) -> bool:
    """Whether a piece of stderr is cargo's progress bar."""
    return _BAR.match(line) is not None


def bar_total(line: str) -> int | None:
    """How many units this build has, by cargo's bar; None for a bar that counts something else."""
    count = _BAR_COUNT.search(line)
    return int(count[2]) if count else None


def awaited_lock(line: str) -> str | None:
    """What another cargo holds, `artifact directory`, when a line of stderr says so."""
    locked = _LOCKED.match(line)
    return locked[1] if locked else None
