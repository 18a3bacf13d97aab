"""One deploy of a tenant at a time on this host: a kernel lock, which a dead process cannot keep."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HOLDER_MAX: Final = 200  # bytes of the holder's note


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
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(_note(handle)) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, note.encode()[:HOLDER_MAX], 0)
        yield
    finally:
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether a live process holds the lock at `path`."""
    try:
        with locked(path, ""):
            return False
    except LockedError:
        return True


def _opened(path: Path) -> int:
    # Not inheritable, by Python's default: a child that outlives us would keep the lock (measured).
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _note(handle: int) -> str:
    return os.pread(handle, HOLDER_MAX, 0).decode("utf-8", errors="replace")
