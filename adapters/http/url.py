"""Which URLs may be asked at all, and which of them may be shown a secret."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, NewType, Self

from deployer.failures import Failure, Kind
from deployer.names import InvalidNameError
from deployer.states.flow import State

ApiUrl = NewType("ApiUrl", str)  # what `parse_api_url` has let through

URL_MAX: Final = 2000  # characters
_PORT_MAX: Final = 65535
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"

# Narrower than RFC 3986 on purpose: no userinfo, no backslash, no control character, no letter
# outside ASCII. Two parsers can't disagree on the host of what is left.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)"
    r"(?:\?(?P<query>(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*))?",
    re.IGNORECASE,
)
_DOTS: Final = re.compile(r"/(?:\.|%2e){1,2}(?=/|$)", re.IGNORECASE)


def _refuse(why: str) -> InvalidNameError:
    # Never the URL itself: what is wrong with it may be the password inside.
    return InvalidNameError(f"the URL {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """An absolute http or https URL without userinfo and fragment."""

    scheme: str  # "http", "https"
    host: str  # small letters; an IPv6 address without its brackets
    port: int | None
    path: str  # "" or "/…"
    query: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text`; raise InvalidNameError, whose message never repeats it."""
        found = _URL.fullmatch(text) if len(text) <= URL_MAX else None
        if found is None:
            raise _refuse(_what_is_wrong(text))
        if _DOTS.search(found["path"]):
            raise _refuse("has '.' or '..' in its path")
        return cls(
            scheme=found["scheme"].lower(),
            host=_host(found["host"].lower()),
            port=_port(found["port"]),
            path=found["path"],
            query=found["query"],
        )

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine by its spelling: 127.0.0.0/8, ::1 or localhost."""
        return is_loopback(self.host)

    @property
    def is_private_to_us(self) -> bool:
        """Whether what is sent there can be read by nobody on the way."""
        return self.scheme == "https" or self.is_loopback

    @property
    def place(self) -> str:
        """Scheme, host, port and path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def base(self) -> str:
        """The same without a slash at the end: for what is put behind it."""
        return self.place.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` (no port, no brackets) spells this machine; no name is looked up."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def parse_api_url(text: str) -> ApiUrl | Failure:
    """The Management API's base URL without a slash at the end, or API_URL_INVALID.

    https, or http on this machine; a path in front of `/api` is fine, a query is not.
    """
    try:
        url = Url.parse(text)
    except InvalidNameError as error:
        return _url_invalid(str(error))
    if not url.is_private_to_us:
        return _url_invalid("the URL must begin with https:// (http:// only for this machine)")
    if url.query is not None:
        return _url_invalid("the URL has a query")
    if "//" in url.path.rstrip("/"):
        return _url_invalid("the URL has an empty part in its path")
    return ApiUrl(url.base)


def _url_invalid(cause: str) -> Failure:
    return Failure(phase=State.AUTHENTICATING, kind=Kind.API_URL_INVALID, cause=cause)


def _host(host: str) -> str:
    if not host.startswith("["):
        return host
    try:
        return str(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        raise _refuse("has no valid IPv6 address in its brackets") from None


def _port(port: str | None) -> int | None:
    if port is None:
        return None
    if not 0 < int(port) <= _PORT_MAX:
        raise _refuse("has a port outside 1..65535")
    return int(port)


def _what_is_wrong(text: str) -> str:
    """The most likely reason, for a person; the grammar has already decided."""
    authority = text.partition("://")[2].partition("/")[0]
    reasons = (
        (len(text) > URL_MAX, f"is longer than {URL_MAX} characters"),
        (not re.match("https?://", text, re.IGNORECASE), "does not begin with https://"),
        ("@" in authority, "holds a user name or password: leave it out"),
        ("#" in text, "has a fragment ('#')"),
        (not text.isascii(), "has letters outside ASCII: write the host as xn--…"),
        (any(char <= " " or char == "\x7f" for char in text), "has blanks or control characters"),
    )
    return next((why for holds, why in reasons if holds), "is malformed")
