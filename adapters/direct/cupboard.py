"""What was found out before: small files below the state directory, each of which may be lost."""

import os
import re
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from deployer.adapters.direct.codec import Codec
from deployer.adapters.direct.values import Base, DiffId, Recipe

T = TypeVar("T")

_KEPT_MAX: Final = 500  # of one kind; the ones that were not used for the longest time go
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLayer:
    """What sources with a certain fingerprint came to."""

    diff_id: DiffId


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBlob:
    """What a plain layer was compressed to."""

    digest: str
    size: int
    codec: Codec
    registry: str  # where it was put last
    repository: str


class Cupboard:
    """One file a fact. Blocks, briefly; whatever cannot be read is not known."""

    def __init__(self, folder: Path, *, trust_fingerprints: bool = True) -> None:
        """Keep everything below `folder`, which need not exist yet.

        Without `trust_fingerprints` no layer is known: its files are read again.
        """
        self._folder = folder
        self.trusts_fingerprints: Final = trust_fingerprints

    def layer(self, fingerprint: str) -> KnownLayer | None:
        """What the sources with this fingerprint came to."""
        return self._get("layers", fingerprint, KnownLayer) if self.trusts_fingerprints else None

    def keep_layer(self, fingerprint: str, known: KnownLayer) -> None:
        """Remember it."""
        self._put("layers", fingerprint, known)

    def blob(self, diff_id: str) -> KnownBlob | None:
        """What a plain layer was compressed to."""
        return self._get("blobs", diff_id, KnownBlob)

    def keep_blob(self, diff_id: str, known: KnownBlob) -> None:
        """Remember it."""
        self._put("blobs", diff_id, known)

    def base(self, digest: str) -> Base | None:
        """A base image by the digest that its registry named."""
        return self._get("bases", digest, Base)

    def keep_base(self, digest: str, base: Base) -> None:
        """Remember it."""
        self._put("bases", digest, base)

    def reference(self, name: str) -> str | None:
        """The digest that a base image's name meant the last time."""
        return self._get("references", name, str)

    def keep_reference(self, name: str, digest: str) -> None:
        """Remember it."""
        self._put("references", name, digest)

    def recipe(self, name: str) -> Recipe | None:
        """A made image by its local name."""
        return self._get("images", name, Recipe)

    def keep_recipe(self, name: str, recipe: Recipe) -> None:
        """Remember it. Raises OSError: without it nothing can be pushed."""
        self._write(self._path("images", name), msgspec.json.encode(recipe))
        self._tidy("images")  # of runs that never came to their end

    def forget_recipe(self, name: str) -> None:
        """Forget a made image."""
        try:
            self._path("images", name).unlink(missing_ok=True)
        except OSError:
            return  # the next tidying takes it

    def codec(self, registry: str) -> Codec | None:
        """What suited the uplink to a registry."""
        return self._get("uplinks", registry, Codec)

    def keep_codec(self, registry: str, codec: Codec) -> None:
        """Remember it."""
        self._put("uplinks", registry, codec)

    def _path(self, kind: str, name: str) -> Path:
        safe = name if _PLAIN.fullmatch(name) else sha256(name.encode()).hexdigest()
        return self._folder / kind / f"{safe}.json"

    def _get(self, kind: str, name: str, shape: type[T]) -> T | None:
        path = self._path(kind, name)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=shape)
            os.utime(path)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        return found

    def _put(self, kind: str, name: str, value: object) -> None:
        try:
            self._write(self._path(kind, name), msgspec.json.encode(value))
            self._tidy(kind)
        except OSError:
            return  # it is found out again

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)

    def _tidy(self, kind: str) -> None:
        files = list((self._folder / kind).iterdir())
        if len(files) > _KEPT_MAX:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: len(files) - _KEPT_MAX // 2]:
                path.unlink(missing_ok=True)
