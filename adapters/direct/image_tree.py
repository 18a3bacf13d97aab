"""The paths of an image as far as a COPY must know them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.values import Member, RefusedError

DIRECTORY: Final = "d"
LINK: Final = "l"
OTHER: Final = "f"
_KINDS: Final = {Node.DIRECTORY: DIRECTORY, Node.LINK: LINK}
_SHOWN: Final = {DIRECTORY: "a directory", LINK: "a link", OTHER: "a file"}
_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


class ImageTree:
    """Paths without a leading slash; the root is "" and always there."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        """Begin with the base image's paths."""
        self._kinds = dict(kinds)
        self.copied: set[str] = set()  # paths that are not the base's any more

    def kind(self, path: str) -> str | None:
        """What is at `path`; None if there is nothing."""
        return self._kinds.get(path) if path else DIRECTORY

    def is_directory(self, path: str) -> bool:
        """Whether `path` is a directory; a link to one is none."""
        return self.kind(path) == DIRECTORY

    def missing_parents(self, path: str, line: int) -> list[str]:
        """The directories above `path` that are to be made. May raise RefusedError."""
        missing = []
        for parent in parents(path):
            kind = self.kind(parent)
            if kind is None:
                missing.append(parent)
            elif kind != DIRECTORY:
                raise RefusedError(
                    line, f"/{parent} is {_SHOWN[kind]} in the image: needs an engine"
                )
        return missing

    def add(self, member: Member, line: int) -> None:
        """Put `member` there. May raise RefusedError: only a file takes another file's place."""
        kind, there = _KINDS.get(member.node, OTHER), self.kind(member.path)
        if there not in (None, kind) or there == kind == LINK:
            raise RefusedError(
                line, f"/{member.path} is {_SHOWN[there or OTHER]} in the image: needs an engine"
            )
        self._kinds[member.path] = kind
        self.copied.add(member.path)


def parents(path: str) -> Iterator[str]:
    """The directories above `path`, the outermost first, without the root."""
    above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    return reversed(above)


def with_layer(kinds: dict[str, str], entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    """`kinds` under one more layer of (path, kind); whiteouts remove what lies below them."""
    found = list(entries)
    gone, emptied = set(), set()
    for path, _ in found:
        parent, _, name = path.rpartition("/")
        if name == _OPAQUE:
            emptied.add(parent)
        elif name.startswith(_WHITEOUT):
            gone.add(f"{parent}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
    kept = kinds if not (gone or emptied) else _without(kinds, gone, emptied)
    replaced = {path for path, kind in found if kind != DIRECTORY and kept.get(path) == DIRECTORY}
    kept = _without(kept, replaced, set()) if replaced else kept
    added = {path: kind for path, kind in found if not is_whiteout(path)}
    return _implied(added) | kept | added


def _implied(added: Iterable[str]) -> dict[str, str]:
    """The directories above `added`: whoever unpacks makes those that no layer names."""
    made: dict[str, str] = {}
    for path in added:
        parent = path.rpartition("/")[0]
        while parent and parent not in made:
            made[parent] = DIRECTORY
            parent = parent.rpartition("/")[0]
    return made


def is_whiteout(path: str) -> bool:
    """Whether a layer's entry `path` removes something instead of being there."""
    return path.rpartition("/")[2].startswith(_WHITEOUT)


def _without(kinds: dict[str, str], gone: set[str], emptied: set[str]) -> dict[str, str]:
    def stays(path: str) -> bool:
        above = list(parents(path))
        return path not in gone and not gone.intersection(above) and not emptied.intersection(above)

    return {path: kind for path, kind in kinds.items() if stays(path) and "" not in emptied}
