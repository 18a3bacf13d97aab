"""What one HTTP request came to: an answer of any status, or a trouble and what it leaves open."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import msgspec

_SUCCESS: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)
_REFUSAL: Final = range(400, 500)
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class Fault(StrEnum):
    """Why there is no answer."""

    # Certain: nothing was sent.
    URL = "url"  # refused by ourselves
    HEADER = "header"  # refused by ourselves: a token with a line break, say
    UNREACHABLE = "unreachable"  # DNS, connection refused, no connection in time
    TLS = "tls"  # the other side's certificate, or it speaks no TLS
    # The server may have done what it was asked.
    CUT = "cut"  # the connection broke
    SLOW = "slow"  # no whole answer in time
    UNREADABLE = "unreadable"  # an answer, but too large or packed


_MAYBE_EXECUTED: Final = frozenset({Fault.CUT, Fault.SLOW, Fault.UNREADABLE})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. Any status: what it means is the caller's business."""

    status: int
    headers: Mapping[str, str]  # names in small letters
    body: bytes = field(repr=False)  # may hold a login

    def json(self) -> object:
        """The body's JSON value; None when it is none, or nests too deep."""
        try:
            return msgspec.json.decode(self.body)
        except (ValueError, RecursionError):  # bad UTF-8 is a ValueError that is not msgspec's
            return None

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx. It alone proves nothing."""
        return self.status in _SUCCESS

    @property
    def is_redirect(self) -> bool:
        """Whether the status is 3xx; none is followed."""
        return self.status in _REDIRECT

    @property
    def is_refusal(self) -> bool:
        """Whether the status is 4xx: the server says that it did nothing."""
        return self.status in _REFUSAL

    @property
    def is_html(self) -> bool:
        """Whether a web page came: neither the API nor a registry sends one, a proxy does."""
        return "html" in self.headers.get("content-type", "").lower()

    @property
    def date(self) -> float | None:
        """When it was sent by the server's clock, in seconds since the epoch."""
        return _date(self.headers.get("date", ""))

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, from its seconds or its date."""
        value = self.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(value):
            return float(value)
        # Its date counts from its own clock, which may differ from ours.
        until, now = _date(value), self.date
        return None if until is None or now is None else max(0.0, until - now)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer, and what is known about the request."""

    fault: Fault
    cause: str  # one line, cleaned

    @property
    def maybe_executed(self) -> bool:
        """Whether the server may have done what it was asked; False is certain."""
        return self.fault in _MAYBE_EXECUTED


def _date(value: str) -> float | None:
    """Seconds since the epoch of an HTTP date; None for anything else."""
    if not value.endswith("GMT"):
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
