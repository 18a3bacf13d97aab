"""Looks for known secrets in what would be published: programs, copied files, an image's history."""

import base64
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import quote

from deployer.adapters.facts import Facts
from deployer.adapters.passwords import is_open, passwords_in
from deployer.adapters.stamp import Stamp
from deployer.model import Secret

# A shorter password alone, such as "postgres", stands in innocent files.
ALONE_MIN: Final = 10  # characters
CHUNK: Final = 1 << 20  # bytes
CLEAN_MAX: Final = 1000


class Searched(Facts):
    """Large files in which earlier processes found none of the same secrets."""

    def holds(self, name: str) -> bool:
        """Whether a file was searched under this name."""
        return bool(self._get("searched", name, bool))

    def keep(self, name: str) -> None:
        """Remember it."""
        self._put("searched", name, True)


class Leaks:
    """Knows what must not be published, as it may be spelled."""

    def __init__(self, secrets: Iterable[Secret] = (), searched: Searched | None = None) -> None:
        """Look for `secrets`, whole, and for the passwords inside their URLs.

        `searched`: what earlier processes looked through.
        """
        spelled = {text for secret in secrets for text in _spellings(secret.reveal())}
        self._needles: Final = tuple(sorted(map(str.encode, _telling(spelled))))
        self._searched: Final = searched
        self._mark: Final = _mark(self._needles)
        self._clean: Final[dict[Stamp, None]] = {}  # large files that hold none, oldest first

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._needles)

    def __repr__(self) -> str:
        """Nothing: the needles are the secrets."""
        return "Leaks(…)"

    def in_bytes(self, data: bytes) -> bool:
        """Whether one of them is in `data`."""
        return any(needle in data for needle in self._needles)

    def in_file(self, path: Path) -> bool:
        """Whether one of them is in the file at `path`; False for what is no file. May raise OSError."""
        if not self._needles:
            return False
        # A pipe in its place would block the opening for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            return stat.S_ISREG(status.st_mode) and self._in_regular(file, Stamp.of(status))

    def _in_regular(self, file: BinaryIO, stamp: Stamp) -> bool:
        """The same file is not searched twice for the same: a binary is 70 MB, and looked at thrice."""
        settled = stamp.is_settled()
        large = stamp.size > CHUNK
        if large and self._is_clean(stamp):
            return False
        found = any(map(self.in_bytes, self._windows(file)))
        if settled and large and not found:
            self._keep_clean(stamp)
        return found

    def _is_clean(self, stamp: Stamp) -> bool:
        if stamp in self._clean:
            return True
        return self._searched is not None and self._searched.holds(self._name(stamp))

    def _keep_clean(self, stamp: Stamp) -> None:
        if self._searched is not None:
            self._searched.keep(self._name(stamp))
        self._clean[stamp] = None
        while len(self._clean) > CLEAN_MAX:
            self._clean.pop(next(iter(self._clean)), None)

    def _name(self, stamp: Stamp) -> str:
        return f"{stamp} {self._mark}"

    def _windows(self, file: BinaryIO) -> Iterator[bytes]:
        """The content in pieces that overlap: read, not mapped, since a file may shrink meanwhile."""
        overlap = max(map(len, self._needles)) - 1
        tail = b""
        while chunk := file.read(CHUNK):
            window = tail + chunk
            yield window
            tail = window[-overlap:]


def _mark(needles: Iterable[bytes]) -> str:
    """Tells that the secrets are others now: 16 bits, which are too few to find a secret by."""
    return hashlib.sha256(b"\0".join(needles)).hexdigest()[:4]


def _telling(spelled: Set[str]) -> Iterator[str]:
    """Those that hold no other one: the rest is found by what it holds, and costs time of its own.

    A password alone finds its URL, too. Each needle takes 4 to 17 ms in 70 MB (measured).
    """
    return (text for text in spelled if not any(other in text for other in spelled - {text}))


def _spellings(value: str) -> Iterator[str]:
    """`value` as files may hold it; nothing of a URL without a password, which is no secret."""
    if is_open(value):
        return
    yield from _encoded(value)
    for password in passwords_in(value):
        yield from password.in_place
        if len(password.written) >= ALONE_MIN:
            yield from password.spelled


def _encoded(value: str) -> Iterator[str]:
    if len(value) >= ALONE_MIN:
        yield value
        yield quote(value, safe="")
        yield base64.b64encode(value.encode()).decode().rstrip("=")
