"""The build context as an engine would receive it. Pure, but for the modes that it is told."""

import posixpath
from collections.abc import Callable, Iterable
from typing import Final

from deployer.adapters.context.dockerfile import is_pattern, name_matcher
from deployer.adapters.context.entries import Entry
from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.values import RefusedError

_LINKS_MAX: Final = 40  # as the kernel's own limit

# Whether the file `path` of the project may be executed by its owner.
Executable = Callable[[str], bool]


class ContextView:
    """Its paths, and what a COPY finds under a name."""

    def __init__(self, entries: Iterable[Entry], executable: Executable) -> None:
        """Hold `entries`, which are in order and complete with their parents."""
        self.entries = {entry.path: entry for entry in entries}
        self._executable = executable

    def mode(self, entry: Entry) -> int:
        """A file's mode, as the context has it: nobody may write, few may execute."""
        return 0o755 if self._executable(entry.path) else 0o644

    def matches(self, path: str, line: int) -> list[str]:
        """The paths that `path`, which may be a pattern, names."""
        if not is_pattern(path):
            return [path] if path == "." or path in self.entries else []
        parts = path.split("/")
        try:
            tests = [name_matcher(part) if is_pattern(part) else part.__eq__ for part in parts]
        except ValueError as error:
            raise RefusedError(line, str(error)) from error
        return [
            found
            for found in self.entries
            if found.count("/") == len(parts) - 1
            and all(test(name) for test, name in zip(tests, found.split("/"), strict=True))
        ]

    def resolved(self, path: str, line: int) -> str:
        """Where `path` leads, links followed inside the context."""
        here, todo, followed = ".", path.split("/"), 0
        while todo:
            here = posixpath.normpath(posixpath.join(here, todo.pop(0)))
            entry = self.entries.get(here)
            if entry is not None and entry.node is Node.LINK:
                followed += 1
                if followed > _LINKS_MAX or entry.target.startswith("/"):
                    raise RefusedError(line, f"{path}: its links lead nowhere")
                todo = [*entry.target.split("/"), *todo]
                here = posixpath.dirname(here) or "."
        return here

    def below(self, directory: str) -> Iterable[tuple[str, Entry]]:
        """What lies in `directory`, each with its path relative to it."""
        if directory == ".":
            return list(self.entries.items())
        prefix = f"{directory}/"
        return [
            (path.removeprefix(prefix), entry)
            for path, entry in self.entries.items()
            if path.startswith(prefix)
        ]


def entries_of(entries: Iterable[Entry], hidden: frozenset[str]) -> list[Entry]:
    """`entries` without those that an engine takes out of the context again."""
    return [entry for entry in entries if entry.path not in hidden]
