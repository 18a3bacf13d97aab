"""The paths that an image's layers hold, one over the other. Blocks."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Final, cast

from deployer.adapters.direct.image_tree import DIRECTORY, LINK, OTHER, with_layer
from deployer.adapters.direct.values import RefusedError
from deployer.names import is_utf8

_PIECE: Final = 256 * 1024  # bytes
_GZIP: Final = b"\x1f\x8b"
_TEXT_MAX: Final = 1 << 20  # bytes of /etc/passwd that are kept
_BROKEN: Final[tuple[type[Exception], ...]] = (
    tarfile.TarError,
    EOFError,
    OSError,
    ValueError,
    zlib.error,
)


@dataclass(slots=True)
class Listing:
    """What there is to know of a base image's files."""

    kinds: dict[str, str] = field(default_factory=dict)
    size: int = 0  # bytes of the plain tars
    passwd: str = ""
    group: str = ""


class _Hashing:
    """The plain tar as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = _plain(file)
        self.digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = _PIECE, /) -> bytes:
        piece = self._file.read(size)
        self.digest.update(piece)
        self.size += len(piece)
        return piece


def list_layers(files: Sequence[IO[bytes]], diff_ids: Sequence[str]) -> Listing:
    """List layers, gzipped or plain, the lowest first.

    Raises RefusedError for one that is not as named.
    """
    listing = Listing()
    for file, diff_id in zip(files, diff_ids, strict=True):
        try:
            plain = _Hashing(file)
            entries = _entries(plain, listing)
            while plain.read():
                pass  # what follows the tar's end belongs to the digest
        except _BROKEN as error:
            raise RefusedError(None, f"its layer {diff_id} cannot be read ({error})") from error
        if f"sha256:{plain.digest.hexdigest()}" != diff_id:
            raise RefusedError(None, f"its layer {diff_id} unpacks to something else")
        listing.kinds = with_layer(listing.kinds, entries)
        listing.size += plain.size
    return listing


def _plain(file: IO[bytes]) -> IO[bytes]:
    begins = file.read(len(_GZIP))
    file.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if begins == _GZIP else file


def _entries(plain: _Hashing, listing: Listing) -> list[tuple[str, str]]:
    entries = []
    with tarfile.open(fileobj=plain, mode="r|", bufsize=_PIECE) as tar:  # type: ignore[call-overload]  # only read() is asked for
        for member in tar:
            path = member.name.removeprefix("./").strip("/")
            # A name that is not UTF-8 is one that no Dockerfile can say.
            if path in ("", ".") or not is_utf8(path):
                continue
            kind = DIRECTORY if member.isdir() else LINK if member.issym() else OTHER
            entries.append((path, kind))
            if path in ("etc/passwd", "etc/group") and member.isreg():
                text = tar.extractfile(member)
                content = text.read(_TEXT_MAX).decode(errors="replace") if text else ""
                setattr(listing, path.removeprefix("etc/"), content)
    return entries
