"""Whether a layer's files are still the ones that were read."""

from collections.abc import Sequence
from pathlib import Path

from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.values import Member
from deployer.adapters.marking import marked


def fingerprint(root: Path, members: Sequence[Member]) -> tuple[str, int]:
    """A name for the members and their files as they are, and when the last of them changed.

    The time is in nanoseconds since the epoch. Raises OSError for a file that is gone.
    """
    files = (each.source if each.node is Node.FILE else None for each in members)
    return marked(root, zip(members, files, strict=True))
