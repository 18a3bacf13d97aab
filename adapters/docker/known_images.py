"""What was built and pushed before: an equal image is neither built nor pushed again."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from deployer.adapters.context.build_context import PlannedContext
from deployer.adapters.facts import Facts
from deployer.names import (
    Digest,
    ImageId,
    ImageRef,
    or_none,
    parse_digest,
    parse_image_id,
)


class KnownImages(Facts):
    """By their ids, which are digests of what they are: an engine that has one has the same."""

    def __init__(self, folder: Path, *, trust_fingerprints: bool = True) -> None:
        """Keep everything below `folder`; without `trust_fingerprints` nothing counts as built."""
        super().__init__(folder)
        self._trusts = trust_fingerprints

    def built(self, planned: PlannedContext, bases: Sequence[ImageId]) -> ImageId | None:
        """What an engine made of this context on top of these base images."""
        found = self._get("built", _key(planned, bases), str) if self._trusts else None
        return or_none(parse_image_id, found or "")

    def keep_built(self, planned: PlannedContext, bases: Sequence[ImageId], image: ImageId) -> None:
        """Remember it."""
        self._put("built", _key(planned, bases), image)

    def loaded(self, root: Path) -> ImageId | None:
        """The last image that an engine was given for this project."""
        return or_none(parse_image_id, self._get("loaded", str(root), str) or "")

    def keep_loaded(self, root: Path, image: ImageId) -> None:
        """Remember it."""
        self._put("loaded", str(root), image)

    def pushed(self, image: ImageId, target: ImageRef) -> Digest | None:
        """The manifest that this image became in the target's repository."""
        return or_none(parse_digest, self._get("pushed", _place(image, target), str) or "")

    def keep_pushed(self, image: ImageId, target: ImageRef, digest: Digest) -> None:
        """Remember it."""
        self._put("pushed", _place(image, target), digest)


def _key(planned: PlannedContext, bases: Sequence[ImageId]) -> str:
    return sha256("\0".join([planned.mark, *bases]).encode()).hexdigest()


def _place(image: ImageId, target: ImageRef) -> str:
    return f"{image} {target.name}"
