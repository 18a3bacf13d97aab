"""Whether files are still the ones that were read: told by their inodes, without reading them."""

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.values import Member

# A file system's clock ticks every few milliseconds: what changed within one tick looks the same.
_TICK: Final = 50_000_000  # nanoseconds


def fingerprint(root: Path, members: Sequence[Member]) -> tuple[str, int]:
    """A name for the members and their files as they are, and when the last of them changed.

    The time is in nanoseconds since the epoch. Raises OSError for a file that is gone.
    """
    digest, newest = sha256(os.fsencode(root)), 0
    for member in members:
        digest.update(msgspec.json.encode(member))
        if member.node is Node.FILE:
            found = (root / member.source).lstat()
            newest = max(newest, found.st_ctime_ns)
            seen = (
                found.st_size,
                found.st_mtime_ns,
                found.st_ctime_ns,
                found.st_ino,
                found.st_mode,
            )
            digest.update(repr(seen).encode())
    return digest.hexdigest(), newest


def is_settled(newest: int, now: float) -> bool:
    """Whether a change after `now` (seconds since the epoch) would be seen."""
    return now * 1e9 - newest > _TICK
