"""What the direct builder found out before."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from deployer.adapters.direct.codec import Codec
from deployer.adapters.direct.values import Base, DiffId, Recipe
from deployer.adapters.facts import Facts

# 2: their trees hold the directories that no layer names, too.
_BASES: Final = "bases-2"


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


class Cupboard(Facts):
    """What the direct builder knows of layers, blobs, base images and its own images."""

    def __init__(self, folder: Path, *, trust_fingerprints: bool = True) -> None:
        """Keep everything below `folder`, which need not exist yet.

        Without `trust_fingerprints` no layer is known: its files are read again.
        """
        super().__init__(folder)
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
        return self._get(_BASES, digest, Base)

    def keep_base(self, digest: str, base: Base) -> None:
        """Remember it."""
        self._put(_BASES, digest, base)

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
