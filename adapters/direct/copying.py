"""What one COPY puts into an image: dockerd's rules (20.10). Pure.

The engine path builds with the classic builder (aiodocker asks for no other), `docker build` of
today with BuildKit. What comes out the same in both is done here; where the two differ, nobody could
tell which one was meant, and the line is refused. tests/real/test_direct_equality.py asks both.
"""

import posixpath
import re
from dataclasses import dataclass, replace
from typing import Final

from deployer.adapters.context.dockerfile import context_path
from deployer.adapters.context.entries import Entry
from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.context_view import ContextView
from deployer.adapters.direct.image_tree import ImageTree, is_whiteout
from deployer.adapters.direct.instructions import Instruction
from deployer.adapters.direct.settings import Settings, absolute
from deployer.adapters.direct.values import Base, Member, RefusedError
from deployer.names import is_utf8

DIRECTORY_MODE: Final = 0o755
LINK_MODE: Final = 0o777
_ID: Final = re.compile(r"\d{1,10}")
_ID_MAX: Final = 2**31 - 1
_MODE: Final = re.compile(r"0?[0-7]{3,4}")
_ROOT: Final = ("", "0", "root", "0:0", "root:root", "0:root", "root:0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owner:
    uid: int = 0
    gid: int = 0


class Copying:
    """Carries out the COPY and WORKDIR instructions of one image."""

    def __init__(self, base: Base, context: ContextView, tree: ImageTree) -> None:
        self._base = base
        self._context = context
        self._tree = tree

    def copy(self, step: Instruction, settings: Settings) -> tuple[Member, ...]:
        """The members of the layer that `step` adds. May raise RefusedError."""
        words = [settings.word(word, step.line) for word in step.words]
        if len(words) < 2:  # noqa: PLR2004  # one source and the destination
            raise RefusedError(step.line, "COPY requires at least two arguments")
        *written, destination = words
        sources = [found for each in written for found in self._sources(each, step.line)]
        into = destination.endswith("/")
        if len(sources) > 1 and not into:
            raise RefusedError(
                step.line, "several sources, and the destination does not end with a slash"
            )
        target = absolute(settings.workdir, destination).strip("/")
        if destination == "." and not self._tree.is_directory(target):
            # A file's name in the classic builder, a directory in BuildKit.
            why = f"/{target} is no directory yet, and what `.` means then differs between builders"
            raise RefusedError(step.line, f"{why}: write ./, or use an engine")
        layer = _Layer(step.line, self._tree)
        owner = self._owner(step, settings)
        for source in sources:
            self._place(source, target, layer, owner, into=into)
        return layer.finished(_mode(step, settings))

    def workdir(self, step: Instruction, settings: Settings) -> tuple[Member, ...]:
        """The directories that a WORKDIR makes; often none."""
        layer = _Layer(step.line, self._tree)
        path = settings.workdir.strip("/")
        layer.make_parents(path, None)
        if path and not self._tree.is_directory(path):
            layer.put(_directory(path))
        made = layer.finished(None)
        user = str(settings.config.get("User") or "")
        if made and user not in _ROOT:
            # Root's in the classic builder, the user's in BuildKit.
            why = f"who owns /{made[0].path} after USER {user} differs between builders"
            raise RefusedError(step.line, f"{why}: put WORKDIR before USER, or use an engine")
        return made

    def _sources(self, written: str, line: int) -> list[str]:
        path = context_path(written)
        found = self._context.matches(path, line)
        if not found:
            raise RefusedError(line, f"COPY {written}: the context has no such path")
        return found

    def _place(
        self, source: str, target: str, layer: "_Layer", owner: _Owner | None, *, into: bool
    ) -> None:
        real = self._context.resolved(source, layer.line)
        entry = self._context.entries.get(real)
        if real == "." or (entry is not None and entry.node is Node.DIRECTORY):
            self._place_directory(real, target, layer, owner)
        elif entry is None:
            raise RefusedError(layer.line, f"COPY {source}: the context has no {real}")
        else:
            inside = into or self._tree.is_directory(target)
            # A link gives the file its own name.
            path = _joined(target, posixpath.basename(source)) if inside else target
            layer.make_parents(path, owner)
            layer.put(self._member(path, entry, owner or _Owner()), chosen=True)

    def _place_directory(
        self, directory: str, target: str, layer: "_Layer", owner: _Owner | None
    ) -> None:
        above = self._tree.missing_parents(target, layer.line)
        if above and owner not in (None, _Owner()):
            # Root's in the classic builder, --chown's in BuildKit; above a file --chown's in both.
            why = f"who owns /{above[-1]} under --chown differs between builders"
            remedy = f"put WORKDIR /{above[-1]} before it, or use an engine"
            raise RefusedError(layer.line, f"{why}: {remedy}")
        layer.make_parents(target, None)
        if not self._tree.is_directory(target):
            layer.put(_owned(_directory(target), owner or _Owner()))
        for relative, entry in self._context.below(directory):
            path = _joined(target, relative)
            layer.make_parents(path, None)
            layer.put(self._member(path, entry, owner or _Owner()), chosen=True)

    def _member(self, path: str, entry: Entry, owner: _Owner) -> Member:
        match entry.node:
            case Node.DIRECTORY:
                return _owned(_directory(path), owner)
            case Node.LINK:
                member = Member(path=path, node=Node.LINK, mode=LINK_MODE, target=entry.target)
                return _owned(member, owner)
            case _:
                return Member(
                    path=path,
                    node=Node.FILE,
                    mode=self._context.mode(entry),
                    uid=owner.uid,
                    gid=owner.gid,
                    source=entry.path,
                    size=entry.size,
                )

    def _owner(self, step: Instruction, settings: Settings) -> _Owner | None:
        written = step.flags.get("chown")
        if written is None:
            return None
        user, colon, group = settings.word(written, step.line).partition(":")
        # A user alone names the group as well.
        owner = _Owner(
            uid=self._id(user, "etc/passwd", self._base.passwd, step.line),
            gid=self._id(group if colon else user, "etc/group", self._base.group, step.line),
        )
        if not colon and _fields(self._base.passwd, user)[3:4] not in ([], [str(owner.gid)]):
            # /etc/group's in the classic builder, /etc/passwd's in BuildKit.
            why = f"the group that --chown={user} means differs between builders"
            raise RefusedError(step.line, f"{why}: write --chown={user}:GROUP, or use an engine")
        return owner

    def _id(self, name: str, path: str, text: str, line: int) -> int:
        if _ID.fullmatch(name) and int(name) <= _ID_MAX:
            return int(name)
        if path in self._tree.copied:
            raise RefusedError(line, f"--chown={name}: /{path} was copied: needs an engine")
        (found,) = _fields(text, name)[2:3] or ("",)
        if not _ID.fullmatch(found):
            raise RefusedError(line, f"--chown={name}: the base image's /{path} has no {name!r}")
        return int(found)


class _Layer:
    """Collects the members of one layer, and keeps the image's tree up to date."""

    def __init__(self, line: int, tree: ImageTree) -> None:
        self.line = line
        self._tree = tree
        self._members: dict[str, Member] = {}
        self._chosen: set[str] = set()  # not merely made on the way: --chmod is for these

    def put(self, member: Member, *, chosen: bool = False) -> None:
        if not all(map(is_utf8, (member.path, member.source, member.target))):
            raise RefusedError(self.line, f"/{member.path!a}: its name is not UTF-8")
        if is_whiteout(member.path):
            raise RefusedError(self.line, f"/{member.path}: its name deletes a file in a layer")
        # What is already there in this layer, in this very place, is overwritten like the base's.
        self._tree.add(member, self.line)
        self._members[member.path] = member
        if chosen:
            self._chosen.add(member.path)

    def make_parents(self, path: str, owner: _Owner | None) -> None:
        for parent in self._tree.missing_parents(path, self.line):
            self.put(_owned(_directory(parent), owner or _Owner()))

    def finished(self, mode: int | None) -> tuple[Member, ...]:
        members = (
            replace(member, mode=mode)
            if mode is not None and path in self._chosen and member.node is not Node.LINK
            else member
            for path, member in self._members.items()
        )
        return tuple(sorted(members, key=lambda member: member.path))


def _mode(step: Instruction, settings: Settings) -> int | None:
    written = step.flags.get("chmod")
    if written is None:
        return None
    text = settings.word(written, step.line)
    if not _MODE.fullmatch(text):
        raise RefusedError(step.line, f"--chmod={text} is no octal mode: needs an engine")
    return int(text, 8)


def _fields(text: str, name: str) -> list[str]:
    """The row of `name` in an /etc/passwd or /etc/group; nothing where there is none."""
    rows = (row.split(":") for row in text.splitlines())
    return next((row for row in rows if row[0] == name), [])


def _directory(path: str) -> Member:
    return Member(path=path, node=Node.DIRECTORY, mode=DIRECTORY_MODE)


def _owned(member: Member, owner: _Owner) -> Member:
    return replace(member, uid=owner.uid, gid=owner.gid)


def _joined(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name
