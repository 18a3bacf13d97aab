"""A look at the files below the project root that follows no link without being asked.

Paths are relative to the root, with slashes and without `.` and `..`; the root itself is ".".
Each function may raise OSError.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

_LINKS_MAX: Final = 40  # as the kernel's own limit


class Node(StrEnum):
    """What a path is. The last four can be in no build context."""

    DIRECTORY = "a directory"
    FILE = "a file"
    LINK = "a link"
    FIFO = "a FIFO"
    SOCKET = "a socket"
    DEVICE = "a device"
    UNKNOWN = "of an unknown type"


_NODES: Final = {
    stat.S_IFDIR: Node.DIRECTORY,
    stat.S_IFREG: Node.FILE,
    stat.S_IFLNK: Node.LINK,
    stat.S_IFIFO: Node.FIFO,
    stat.S_IFSOCK: Node.SOCKET,
    stat.S_IFCHR: Node.DEVICE,
    stat.S_IFBLK: Node.DEVICE,
}


class OutsideError(Exception):
    """A path leads out of the project; the message names the link that does."""


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a path leads, and the links on the way there, each with its target."""

    path: str
    links: tuple[tuple[str, str], ...]


class ProjectTree:
    """The files below one root."""

    def __init__(self, root: Path) -> None:
        """Look below `root`, which may itself be reached through links."""
        self._root = root

    def node(self, path: str) -> Node | None:
        """What is at `path`, links not followed; None if there is nothing."""
        try:
            mode = self._at(path).lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _NODES.get(stat.S_IFMT(mode), Node.UNKNOWN)

    def names(self, directory: str) -> list[str]:
        """What a directory holds, in order; nothing if it is none."""
        if self.node(directory) is not Node.DIRECTORY:
            return []
        return sorted(entry.name for entry in self._at(directory).iterdir())

    def size(self, path: str) -> int:
        """The size of a file in bytes. Raises PermissionError if it could not be read."""
        place = self._at(path)
        if not os.access(place, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return place.lstat().st_size

    def text(self, path: str) -> str:
        """A text file's content. Raises UnicodeDecodeError if it is not UTF-8."""
        return self._at(path).read_text("utf-8")

    def target(self, link: str) -> str:
        """Where `link` points, as it is stored."""
        return os.fspath(self._at(link).readlink())

    def stays_inside(self, link: str) -> bool:
        """Whether `link` points into the project, from where it lies."""
        target = self.target(link)
        leads_to = os.path.normpath(PurePosixPath(link).parent / target)
        return not (target.startswith("/") or leads_to.split("/")[0] == "..")

    def follow(self, path: str) -> Followed | None:
        """Resolve each link in `path`; None if there is nothing. May raise OutsideError."""
        done: list[str] = []
        todo = deque(_parts(path))
        links: list[tuple[str, str]] = []
        while todo:
            part = todo.popleft()
            if part == "..":
                _ascend(done, links)
                continue
            here = "/".join([*done, part])
            node = self.node(here)
            if node is None:
                return None
            if node is Node.LINK:
                target = self._inner_target(here, len(links))
                links.append((here, target))
                todo.extendleft(reversed(list(_parts(target))))
            else:
                done.append(part)
        return Followed("/".join(done) or ".", tuple(links))

    def _inner_target(self, link: str, followed: int) -> str:
        target = self.target(link)
        if target.startswith("/"):
            raise OutsideError(f"{link} -> {target}")
        if followed >= _LINKS_MAX:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), link)
        return target

    def _at(self, path: str) -> Path:
        return self._root / path


def _parts(path: str) -> Iterable[str]:
    return (part for part in path.split("/") if part not in ("", "."))


def _ascend(done: list[str], links: list[tuple[str, str]]) -> None:
    if not done:
        raise OutsideError(" -> ".join(links[-1]) if links else "..")
    done.pop()
