"""Looks at the files that cargo left: are they programs, and are they the same as before."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import anyio
from anyio import from_thread, to_thread

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


class Hashes:
    """Hashes programs. What has not changed since is not read again by the same process."""

    def __init__(self) -> None:
        """Know none."""
        self._known: Final[dict[Path, tuple[Stamp, Fingerprint]]] = {}

    async def of(self, path: Path, threads: anyio.CapacityLimiter) -> Fingerprint | Unusable:
        """Hash the program at `path` beside the event loop; cancelling stops the reading."""
        return await to_thread.run_sync(self._fingerprint, path, limiter=threads)

    def _fingerprint(self, path: Path) -> Fingerprint | Unusable:
        try:
            # A pipe in the file's place would block the opening for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb", buffering=0) as file:
                return self._found(path, file)
        except FileNotFoundError:
            return Unusable("does not exist")
        except OSError as error:
            return Unusable(f"cannot be read: {error.strerror}")

    def _found(self, path: Path, file: BinaryIO) -> Fingerprint | Unusable:
        stamp = Stamp.of(os.fstat(file.fileno()))
        settled = stamp.is_settled()
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        found = _read(file)
        if settled and isinstance(found, Fingerprint):
            self._known[path] = stamp, found
        return found


def _read(file: BinaryIO) -> Fingerprint | Unusable:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return Unusable("is not a file")
    if not status.st_size:
        return Unusable("is empty")
    if not status.st_mode & stat.S_IXUSR:
        return Unusable("is not executable")
    if file.read(4) not in MAGIC:
        return Unusable("is not a program (no ELF or Mach-O header)")
    return Fingerprint(status.st_size, _sha256(file))


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        from_thread.check_cancelled()
    return digest.hexdigest()
