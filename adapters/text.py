"""Foreign text made safe: control characters go, known secrets become stars."""

import base64
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote

from deployer.adapters.passwords import names_in, passwords_in
from deployer.model import Secret

LINE_MAX: Final = 500  # characters of one foreign line that is shown or stored
STARS: Final = "***"
CUT: Final = "…"  # stands where text was cut, so that a scrubber knows
# Shorter values occur in innocent text: "x" is the registry's user name.
SECRET_MIN: Final = 4
INSIDE_MIN: Final = 8  # characters of base64: fewer occur in any digest
_URL_SAFE: Final = str.maketrans("+/", "-_")

_PERCENT: Final = re.compile("%[0-9A-F]{2}")
_HTML_SIGNS: Final = {ord(sign): rf"\u{ord(sign):04x}" for sign in "<>&"}  # as Go writes them

# A whole escape sequence goes, not only its ESC: the rest would stay as litter on the terminal.
_ESCAPES: Final = re.compile(
    r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, hyperlinks
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor
    r"|\x1b[@-Z\\-_]?"
)
# Cc: C0 and C1. Cf: bidi controls and other invisible characters, that make text lie.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co"})


def clean(text: str, limit: int = LINE_MAX) -> str:
    """`text` as one sentence: one line, single spaces, no control characters, cut at `limit`."""
    return " ".join(clean_output(text, limit).split())


def clean_output(text: str, limit: int = LINE_MAX) -> str:
    """A line of a program's output without control characters, cut at `limit` characters.

    Its spaces stay: a compiler's carets point at what stands above them.
    """
    # Cut first, with room for escapes: a hostile line may be a megabyte long.
    line = text[: limit * 4]
    if not (line.isascii() and line.isprintable()):  # most lines are, and there are many
        line = _ESCAPES.sub("", line).strip("\t\r\n")
        line = "".join(_shown(char) for char in line)
    line = line.rstrip()
    is_cut = len(line) > limit or len(text) > limit * 4
    return line[: limit - 1] + CUT if is_cut else line


def shortened(text: str, limit: int) -> str:
    """`text`, cut at `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + CUT


def _shown(char: str) -> str:
    if char in "\t\r\n":
        return " "
    return "" if unicodedata.category(char) in _HIDDEN else char


def decode(raw: bytes) -> str:
    """Foreign bytes as text; what is not UTF-8 is shown as the replacement character."""
    return raw.decode("utf-8", errors="replace")


class Scrubber:
    """Knows the secrets of one deployer and takes them out of text, however they are encoded."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        """Learn `secrets`."""
        self._known: tuple[str, ...] = ()  # longest first
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: Secret) -> None:
        """Scrub this value from now on, and a URL's password alone, in each spelling."""
        value = secret.reveal()
        parts = (part for part in {value, *_passwords(value)} if len(part) >= SECRET_MIN)
        spelled = (text for part in parts for text in _spellings(part))
        self._known = tuple(sorted({*self._known, *spelled}, key=len, reverse=True))

    def scrub(self, text: str) -> str:
        """`text` with each known value, and the head of one before a cut, replaced by stars."""
        # Longest first: a password that ends a URL must not leave the URL's head behind.
        for value in self._known:
            text = text.replace(value, STARS)
        if CUT not in text:
            return text
        *cut, rest = text.split(CUT)
        return CUT.join([*map(self._without_head, cut), rest])

    def _without_head(self, text: str) -> str:
        """`text`, that was cut at its end, without the head of a known value that is left there."""
        begin = min((_begin_of_head(text, value) for value in self._known), default=len(text))
        return text[:begin] + STARS if begin < len(text) else text

    def line(self, text: str, limit: int = LINE_MAX) -> str:
        """`text` scrubbed and cleaned: what may be shown, logged or stored."""
        # Cleaned first and last: a secret may be split by an escape sequence, and may be cut.
        return clean_output(self.scrub(clean_output(text, limit * 4)), limit)


def _begin_of_head(text: str, value: str) -> int:
    """Where the head of `value` begins that ends `text`; the end of `text` if none does."""
    begin = text.find(value[:SECRET_MIN], max(0, len(text) - len(value)))
    while begin >= 0 and not value.startswith(text[begin:]):
        begin = text.find(value[:SECRET_MIN], begin + 1)
    return begin if begin >= 0 else len(text)


def _spellings(value: str) -> Iterator[str]:
    """`value` as foreign text may hold it."""
    encoded = base64.b64encode(value.encode()).decode()
    yield from (value, encoded, encoded.rstrip("="))
    yield from _in_base64(value.encode())
    yield from _in_url(value)
    yield from _in_json(value)


def _in_base64(value: bytes) -> Iterator[str]:
    """What base64 makes of `value` inside a longer text, in which it may begin at any of three places.

    An Authorization header is one: its password comes behind the user's name.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).decode()
        # The first and the last character may hold bits of what is around it.
        first, end = -(-before * 8 // 6), (before + len(value)) * 8 // 6
        inside = encoded[first:end]
        if len(inside) >= INSIDE_MIN:
            yield from (inside, inside.translate(_URL_SAFE))


def _in_url(value: str) -> Iterator[str]:
    """`value` percent-encoded, with digits of either case."""
    for safe in ("", "/"):
        quoted = quote(value, safe=safe)
        yield quoted
        yield _PERCENT.sub(lambda found: found[0].lower(), quoted)


def _in_json(value: str) -> Iterator[str]:
    """`value` inside a JSON text: some writers escape what is not ASCII, slashes, or HTML's signs."""
    for is_ascii in (True, False):
        escaped = json.dumps(value, ensure_ascii=is_ascii)[1:-1]
        for each in (escaped, escaped.translate(_HTML_SIGNS)):
            yield from (each, each.replace("/", r"\/"))


def _passwords(value: str) -> Iterator[str]:
    """The passwords inside a URL, as written and decoded."""
    names = names_in(value)
    for password in passwords_in(value):
        yield from password.in_place
        # `postgres://postgres:postgres@…`: starred on its own, the word would garble each message.
        if password.decoded not in names:
            yield from password.spelled
