"""Nothing is done twice: an image that was built or pushed before is only looked for."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import aiodocker

from deployer.adapters.context.build_context import PlannedContext
from deployer.adapters.docker.client import (
    LOCAL_NAME,
    PLATFORM,
    described,
    inspected,
    tag_locally,
)
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.leaks import Leaks
from deployer.adapters.stamp import unsettled_seconds
from deployer.adapters.threads import in_thread
from deployer.failures import Failure
from deployer.model import Image, Login
from deployer.names import Digest, ImageId, ImageRef
from deployer.ports import Registry


class Again:
    """One context at one engine: was it built before, and is it still there?

    The key is what the classic builder's cache would go by: the Dockerfile, the sources and the
    base images as the engine has them, which is what a build without a pull takes. So a RUN step
    counts as unchanged, as in that cache. What an engine would look at anew is never skipped: ADD
    of a URL, files of another image, and the triggers of a base image.
    """

    def __init__(self, images: KnownImages, planned: PlannedContext, leaks: Leaks) -> None:
        """Look for `planned` among `images`; refuse one that tells one of `leaks`."""
        self.planned = planned
        self._images = images
        self._leaks = leaks
        self._bases: Sequence[ImageId | None] | None = None  # before the build; None: no key

    def unsettled_seconds(self) -> float:
        """How long a change of a source might go unseen: what is packed then may be remembered."""
        return unsettled_seconds(self.planned.changed, time.time_ns() / 1e9)

    async def found(self, engine: aiodocker.Docker, tag: str) -> Image | None:
        """The image, under `tag`, if nothing changed since it was built. Raises CLIENT_ERRORS."""
        self._bases = await self._base_ids(engine)
        bases = _whole(self._bases)
        if bases is None:
            return None
        known = await in_thread(partial(self._images.built, self.planned, bases))
        return None if known is None else await self._tagged(engine, known, tag)

    async def keep(self, engine: aiodocker.Docker, image: ImageId) -> None:
        """Remember what was built, unless a base moved meanwhile. Raises CLIENT_ERRORS."""
        before, bases = self._bases, _whole(await self._base_ids(engine))
        # One that was not there has been pulled by the build itself.
        if before is None or bases is None or not all(map(_same, before, bases)):
            return
        await in_thread(partial(self._images.keep_built, self.planned, bases, image))

    async def _base_ids(self, engine: aiodocker.Docker) -> Sequence[ImageId | None] | None:
        names = self.planned.plan.base_images
        if self.planned.plan.fetches or not all(map(LOCAL_NAME.fullmatch, names)):
            return None
        found = [await inspected(engine, name) for name in names]
        if any(base is not None and base.has_triggers for base in found):
            return None
        return [base.image_id if base else None for base in found]

    async def _tagged(self, engine: aiodocker.Docker, known: ImageId, tag: str) -> Image | None:
        try:
            await tag_locally(engine, known, tag)
        except aiodocker.DockerError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        found = await inspected(engine, tag)
        if found is None or found.image_id != known or (found.os, found.architecture) != PLATFORM:
            return None
        if self._leaks and self._leaks.in_bytes(await described(engine, tag)):
            return None  # the build says it better
        return found.under(tag)


@dataclass(frozen=True, slots=True)
class Before:
    """What is remembered, and the registry that may have it still."""

    images: KnownImages
    registry: Registry

    async def put(self, image: ImageId, target: ImageRef, login: Login) -> Digest | None:
        """Name the manifest that `image` became in this repository; None: it must be pushed.

        The registry's own digest says that it is named. Whatever else it says is left to a push.
        """
        known = await in_thread(partial(self.images.pushed, image, target))
        if known is None or isinstance(await self.registry.retag(target, known, login), Failure):
            return None
        return known

    async def keep(self, image: ImageId, target: ImageRef, digest: Digest) -> None:
        """Remember a push."""
        await in_thread(partial(self.images.keep_pushed, image, target, digest))


def _whole(bases: Sequence[ImageId | None] | None) -> list[ImageId] | None:
    """The ids, if the engine has each base image."""
    known = [base for base in bases or () if base is not None]
    return known if bases is not None and len(known) == len(bases) else None


def _same(before: ImageId | None, after: ImageId) -> bool:
    return before in (None, after)
