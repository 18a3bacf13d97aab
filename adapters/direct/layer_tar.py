"""A layer as a tar: the same members give the same bytes, on each machine and at any time."""

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from deployer.adapters.context.project_tree import Node
from deployer.adapters.context.tar import ChangedError, UnreadableError, opened
from deployer.adapters.direct.values import DiffId, Member

_PIECE: Final = 1 << 20  # bytes
_GATHERED: Final = 512 * 1024  # bytes; a thread's hop costs 0.1 ms (measured)
_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)
_TYPES: Final = {Node.DIRECTORY: tarfile.DIRTYPE, Node.LINK: tarfile.SYMTYPE}


def layer_pieces(
    root: Path, members: Sequence[Member], checkpoint: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """The tar of `members`, whose sources lie below `root`. Blocks.

    Raises ChangedError, UnreadableError, and whatever `checkpoint` does between two pieces.
    """
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for member in members:
            checkpoint()
            yield header(member)
            if member.node is Node.FILE:
                yield from _content(top, member, checkpoint)
        yield _END
    finally:
        os.close(top)


def header(member: Member) -> bytes:
    """A member's own blocks in the tar."""
    info = tarfile.TarInfo(member.path)
    info.type = _TYPES.get(member.node, tarfile.REGTYPE)
    info.mode, info.uid, info.gid = member.mode, member.uid, member.gid
    info.size, info.linkname = member.size, member.target
    return info.tobuf(tarfile.PAX_FORMAT)


def gathered(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Small pieces joined: headers and short files are not worth a call each."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _GATHERED:
            yield b"".join(waiting) if len(waiting) > 1 else piece
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def tar_size(members: Sequence[Member]) -> int:
    """Bytes of the tar of `members`."""
    return sum(len(header(each)) + each.size + -each.size % _BLOCK for each in members) + len(_END)


def hashed(
    root: Path, members: Sequence[Member], checkpoint: Callable[[], None] = lambda: None
) -> DiffId:
    """The digest of the plain tar. Blocks, and raises, as `layer_pieces` does."""
    digest = hashlib.sha256()
    for piece in layer_pieces(root, members, checkpoint):
        digest.update(piece)
    return DiffId(f"sha256:{digest.hexdigest()}")


def _content(top: int, member: Member, checkpoint: Callable[[], None]) -> Iterator[bytes]:
    with opened(top, member.source) as file:
        before = os.fstat(file)
        if not stat.S_ISREG(before.st_mode) or before.st_size != member.size:
            raise ChangedError(member.source)
        left = member.size
        while left:
            checkpoint()
            piece = _read(file, min(_PIECE, left), member.source)
            left -= len(piece)
            yield piece
        after = os.fstat(file)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise ChangedError(member.source)
    yield bytes(-member.size % _BLOCK)


def _read(file: int, size: int, path: str) -> bytes:
    try:
        piece = os.read(file, size)
    except OSError as error:
        raise UnreadableError(OSError(error.errno, error.strerror, path)) from error
    if not piece:
        raise ChangedError(path)
    return piece
