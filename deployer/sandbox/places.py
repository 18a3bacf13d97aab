"""Where a sandbox keeps what: downloads for all sandboxes, and one folder for each."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deployer.sandbox.refusal import Refused

# The kernel's limit for a socket's path is 108 bytes.
SOCKET_PATH_MAX: Final = 100


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where downloads go when the user names no place."""
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/root"), ".cache")
    return Path(base) / "deployer" / "sandbox"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Be the only sandbox in `folder`, or raise Refused. The lock dies with the process."""
    _made(folder)
    # Never unlinked: a second process could hold the lock on the removed file.
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Refused(
                f"Another sandbox (process {file.read().strip() or 'unknown'}) uses {folder}: "
                "end it, or pass --folder with another one."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def socket_folder(folder: Path) -> Iterator[Path]:
    """A folder whose sockets have short enough paths: `folder` itself or one in /tmp."""
    if len(bytes(folder)) < SOCKET_PATH_MAX - len("/engine.sock"):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="deployer-") as short:
        yield Path(short)


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Refused(
            f"{folder} cannot be made: {error.strerror}. Name another place by XDG_CACHE_HOME."
        ) from error
