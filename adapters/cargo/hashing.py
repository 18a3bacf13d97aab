"""Looks at the files that cargo left: are they programs, and are they the same as before."""

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import anyio
from anyio import from_thread, to_thread

from deployer.adapters.facts import Facts
from deployer.adapters.stamp import Stamp

# cargo does not check what it left: an empty file is "Finished" and fresh to it (measured).
MAGIC: Final = (
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",  # Mach-O, 64 bit
    b"\xca\xfe\xba\xbe",  # Mach-O, several architectures
)
CHUNK: Final = 1 << 20  # bytes
THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a program file is: its length in bytes, and its sha256 as 64 hex digits."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a file is no program that could run."""

    reason: str


def limiter() -> anyio.CapacityLimiter:
    """Threads for hashing; the default ones belong to the host program."""
    return anyio.CapacityLimiter(THREADS)


@dataclass(frozen=True, slots=True)
class Read:
    """What was read when a file had this stamp."""

    stamp: Stamp
    fingerprint: Fingerprint


class Programs(Facts):
    """What earlier processes read: a deploy without changes need not hash 150 MB (80 ms)."""

    def known(self, path: Path) -> Read | None:
        """The last reading of the program at `path`."""
        return self._get("programs", str(path), Read)

    def keep(self, path: Path, read: Read) -> None:
        """Remember it."""
        self._put("programs", str(path), read)


class Hashes:
    """Hashes programs. What has not changed since is not read again."""

    def __init__(self, programs: Programs | None = None) -> None:
        """Know what `programs` remembers; without it, nothing."""
        self._programs: Final = programs
        self._known: Final[dict[Path, Read]] = {}

    async def of(self, path: Path, threads: anyio.CapacityLimiter) -> Fingerprint | Unusable:
        """Hash the program at `path` beside the event loop; cancelling stops the reading."""
        look = partial(self._fingerprint, path, self._programs)
        return await to_thread.run_sync(look, limiter=threads)

    async def verified(self, path: Path, threads: anyio.CapacityLimiter) -> Fingerprint | Unusable:
        """The same; what `of` has not told yet in this process is read, whatever is remembered."""
        return await to_thread.run_sync(self._fingerprint, path, None, limiter=threads)

    def _fingerprint(self, path: Path, programs: Programs | None) -> Fingerprint | Unusable:
        try:
            # A pipe in the file's place would block the opening for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                return self._found(path, file, programs)
        except FileNotFoundError:
            return Unusable("does not exist")
        except OSError as error:
            return Unusable(f"cannot be read: {error.strerror}")

    def _found(
        self, path: Path, file: BinaryIO, programs: Programs | None
    ) -> Fingerprint | Unusable:
        status = os.fstat(file.fileno())
        unusable = _unusable(status, file)
        if unusable is not None:
            return unusable
        stamp = Stamp.of(status)
        settled = stamp.is_settled()
        known = self._known.get(path) or (programs.known(path) if programs else None)
        if known is not None and known.stamp == stamp:
            self._known[path] = known
            return known.fingerprint
        found = Fingerprint(status.st_size, _sha256(file))
        if settled:
            self._keep(path, Read(stamp, found))
        return found

    def _keep(self, path: Path, read: Read) -> None:
        self._known[path] = read
        if self._programs is not None:
            self._programs.keep(path, read)


def _unusable(status: os.stat_result, file: BinaryIO) -> Unusable | None:
    if not stat.S_ISREG(status.st_mode):
        return Unusable("is not a file")
    if not status.st_size:
        return Unusable("is empty")
    if not status.st_mode & stat.S_IXUSR:
        return Unusable("is not executable")
    if file.read(4) not in MAGIC:
        return Unusable("is not a program (no ELF or Mach-O header)")
    return None


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        from_thread.check_cancelled()
    return digest.hexdigest()
