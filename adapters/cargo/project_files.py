"""Reads the small files that describe a project, and only such as lie inside it."""

import os
from pathlib import Path
from typing import Final

from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.states.flow import State

SIZE_MAX: Final = 1 << 20  # bytes


def lies_inside(project_root: Path, path: Path) -> bool:
    """Whether `path`, its links followed, is below `project_root`."""
    # Path.resolve raises for a loop of links, and not the same error in each Python.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(project_root))


def read(project_root: Path, relative: Path, kind: Kind) -> bytes | Failure:
    """The content of a file of the project; a Failure of `kind` when it can't be had."""
    path = project_root / relative
    if not lies_inside(project_root, path):
        return refused(relative, kind, "leads outside the project")
    try:
        # A pipe in its place would block the reading for ever.
        if not path.is_file():
            return refused(relative, kind, "does not exist, or is no file")
        if path.stat().st_size > SIZE_MAX:
            return refused(relative, kind, f"is larger than {SIZE_MAX >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        return refused(relative, kind, f"cannot be read: {error.strerror}")


def refused(relative: Path, kind: Kind, why: str) -> Failure:
    """The failure that names a file of the project."""
    return Failure(phase=State.BUILDING, kind=kind, cause=clean(f"{relative} {why}"))
