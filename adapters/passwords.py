"""Finds the passwords in a secret that is a URL, however badly it is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

# Not `urlsplit`: it raises for a bracket in the password, which drivers take.
_URL: Final = re.compile(
    r".*?://"
    r"(?:(?P<user>[^:/?#]*)(?::(?P<password>[^/?#]*))?@)?"
    r"(?P<hosts>[^@/?#]*)(?P<path>/[^?#]*)?.*",
    re.DOTALL,
)
_HOST: Final = r"(?:\[[0-9A-Za-z:.%]+\]|[^\[\]:,]*)(?::\d+)?"
_HOSTS: Final = re.compile(rf"{_HOST}(?:,{_HOST})*")  # PostgreSQL takes several
_QUERY_PASSWORD: Final = re.compile(r"([?&]password=)([^&#]+)")
_QUERY_NAME: Final = re.compile(r"[?&](?:user|host|dbname)=([^&#]+)")


@dataclass(frozen=True, slots=True)
class Password:
    """One password of a URL."""

    before: str  # what marks it as a password
    written: str  # as the URL holds it
    after: str = ""

    @property
    def decoded(self) -> str:
        """As the database knows it."""
        return unquote(self.written)

    @property
    def spelled(self) -> frozenset[str]:
        """As it is written, and decoded."""
        return frozenset((self.written, self.decoded))

    @property
    def in_place(self) -> frozenset[str]:
        """The same, with what marks it."""
        return frozenset(f"{self.before}{each}{self.after}" for each in self.spelled)

    def __repr__(self) -> str:
        """Nothing: it is a secret."""
        return "Password(…)"


def passwords_in(value: str) -> tuple[Password, ...]:
    """The passwords that the URL `value` gives before its host and in its query; () without any."""
    parts = _URL.fullmatch(value)
    if parts is None:
        return ()
    before_host = [Password(":", parts["password"], "@")] if parts["password"] else []
    return (*before_host, *_in_query(value))


def is_open(value: str) -> bool:
    """Whether `value` is a URL that certainly gives no password."""
    parts = _URL.fullmatch(value)
    if parts is None or passwords_in(value):
        return False
    # Else it is no URL to rely on: a slash in the password ends what looks like the host.
    return _HOSTS.fullmatch(parts["hosts"]) is not None and "@" not in (parts["path"] or "")


def names_in(url: str) -> frozenset[str]:
    """What a URL names besides: its user, host and database."""
    parts = _URL.fullmatch(url)
    if parts is None:
        return frozenset()
    host = parts["hosts"].rpartition(":")[0] or parts["hosts"]
    names = (parts["user"], host.lower(), (parts["path"] or "").strip("/"))
    return frozenset((*filter(None, names), *_QUERY_NAME.findall(url)))


def _in_query(url: str) -> Iterator[Password]:
    for mark, written in _QUERY_PASSWORD.findall(url):
        yield Password(mark, written)
        if "+" in written:  # a query's other spelling of a space
            yield Password(mark, written.replace("+", " "))
