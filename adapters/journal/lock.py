"""One deploy of a tenant at a time on this host: a kernel lock, which a dead process cannot keep."""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HOLDER_MAX: Final = 200  # bytes of the holder's note
# struct flock of a 64-bit Linux: type, whence, start, length (0: the whole file), process (0).
_FLOCK: Final = "hhqqi4x"


class LockedError(Exception):
    """Somebody holds the lock; the text is the holder's own note."""


@contextmanager
def locked(path: Path, note: str) -> Iterator[None]:
    """Hold the lock at `path`, leaving `note` for those who come meanwhile, or raise LockedError.

    The file is never unlinked: a third process would lock the new file beside the second one's
    lock on the old. Its text is meaningful only while the lock is held.
    """
    handle = _opened(path)
    try:
        try:
            # A lock of the open file: it refuses a second one in this process, too, ends with
            # the last descriptor, and, unlike flock's, can be looked at without being taken.
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, locking())
        except BlockingIOError:
            raise LockedError(_note(handle)) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, note.encode()[:HOLDER_MAX], 0)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock at `path`; nobody is hindered by the question."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, locking())
    finally:
        os.close(handle)
    kind: int = struct.unpack(_FLOCK, found)[0]
    return kind != fcntl.F_UNLCK


def locking() -> bytes:
    """The kernel's description of a lock on a whole file."""
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def _opened(path: Path) -> int:
    # Not inheritable, by Python's default: a child that outlives us would keep the lock (measured).
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _note(handle: int) -> str:
    return os.pread(handle, HOLDER_MAX, 0).decode("utf-8", errors="replace")
