"""The members of a build context as they are found: filtered, and never through a link unasked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from deployer.adapters.context.dockerfile import IgnoreRules
from deployer.adapters.context.project_tree import Node, OutsideError, ProjectTree
from deployer.adapters.context.rules import is_secret
from deployer.failures import Kind


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One member of the tar: a directory, a file or a link."""

    path: str  # relative to the project root
    node: Node
    size: int = 0  # bytes, of a file when it was looked at
    target: str = ""  # of a link, as it is stored


class RefusedError(Exception):
    """The context cannot be made; `plan_context` makes a Failure of it."""

    def __init__(self, kind: Kind, cause: str) -> None:
        """Refuse with `kind`, because of `cause`."""
        super().__init__(cause)
        self.kind = kind


class Entries:
    """Collects the entries of one context. Its methods may raise OSError and RefusedError."""

    def __init__(self, tree: ProjectTree, checkpoint: Callable[[], None]) -> None:
        """Collect from `tree`, with no rules yet; call `checkpoint` between directories."""
        self.rules = IgnoreRules("")
        self.left_out: set[str] = set()  # secrets, and links that lead outside
        self._tree = tree
        self._checkpoint = checkpoint
        self._entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        """Whether `path` is in the context."""
        return path in self._entries

    def sorted(self) -> tuple[Entry, ...]:
        """Each entry once, after its parents."""
        self._add_parents()
        return tuple(sorted(self._entries.values()))

    def follow(self, path: str, what: str) -> str | None:
        """Where `path` leads, with the links on the way added; None if there is nothing."""
        try:
            followed = self._tree.follow(path)
        except OutsideError as error:
            cause = f"{what} leads out of the project: {error}"
            raise RefusedError(Kind.SOURCE_OUTSIDE, cause) from error
        if followed is None:
            return None
        for link, target in followed.links:
            self._put(Entry(link, Node.LINK, target=target))
        return followed.path

    def add(self, path: str) -> bool:
        """Add what is at `path`; False if all of it is ignored or leads outside."""
        node = self._tree.node(path)
        if node is Node.DIRECTORY:
            return self._add_directory(path)
        if self.rules.ignores(path):
            return False
        if node is Node.LINK:
            return self._add_link(path)
        if node is None:
            raise RefusedError(Kind.CONTEXT_CHANGED, f"{path} is gone")
        if node is not Node.FILE:
            raise RefusedError(Kind.CONTEXT_UNREADABLE, f"{path} is {node}")
        self._put(Entry(path, node, size=self._tree.size(path)))
        return True

    def _add_directory(self, top: str) -> bool:
        entered = False
        todo = [top]
        while todo:
            self._checkpoint()
            directory = todo.pop()
            if not self.rules.ignores(directory):
                self._put(Entry(directory, Node.DIRECTORY))
                entered = True
            for path in self._admitted(directory):
                if self._tree.node(path) is Node.DIRECTORY:
                    todo.append(path)
                else:
                    entered |= self.add(path)
        return entered

    def _admitted(self, directory: str) -> Iterator[str]:
        for name in self._tree.names(directory):
            path = below(directory, name)
            if self.rules.ignores(path) and not self.rules.readmits_below(path):
                continue
            if is_secret(path):
                self.left_out.add(path)
            else:
                yield path

    def _add_link(self, path: str) -> bool:
        if not self._tree.stays_inside(path):
            self.left_out.add(path)
            return False
        self._put(Entry(path, Node.LINK, target=self._tree.target(path)))
        return True

    def _add_parents(self) -> None:
        """Without an entry of its own, the engine would invent a directory's mode."""
        for path in tuple(self._entries):
            for parent in PurePosixPath(path).parents:
                self._entries.setdefault(str(parent), Entry(str(parent), Node.DIRECTORY))
        self._entries.pop(".", None)

    def _put(self, entry: Entry) -> None:
        self._entries[entry.path] = entry


def below(directory: str, name: str) -> str:
    """The path of `name` in `directory`."""
    return name if directory == "." else f"{directory}/{name}"
