"""Whether files are still the ones that were read: told by their inodes, without reading them."""

import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.values import Member
from deployer.adapters.stamp import Stamp, settled_at


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
            digest.update(repr(Stamp.of(found)).encode())
    return digest.hexdigest(), newest


def is_settled(newest: int, now: float) -> bool:
    """Whether a change after `now` (seconds since the epoch) would be seen."""
    return now > settled_at(newest)
