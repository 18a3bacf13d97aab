"""Whether many files are still the ones that were read: told by their inodes, without reading them."""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import msgspec

from deployer.adapters.stamp import Stamp


def marked(root: Path, parts: Iterable[tuple[object, str | None]]) -> tuple[str, int]:
    """A name for `parts` and their files as they are, and when the last of them changed.

    Beside each part stands its file's path below `root`, if it has one. The time is in nanoseconds
    since the epoch. Raises OSError for a file that is gone.
    """
    digest, newest = sha256(os.fsencode(root)), 0
    for part, file in parts:
        digest.update(msgspec.json.encode(part))
        if file is not None:
            found = (root / file).lstat()
            newest = max(newest, found.st_ctime_ns)
            digest.update(repr(Stamp.of(found)).encode())
    return digest.hexdigest(), newest
