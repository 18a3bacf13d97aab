"""One build at an engine."""

from collections.abc import Callable
from typing import Final

import aiodocker
import anyio

from deployer.adapters.context.build_context import PackedContext
from deployer.adapters.docker.client import (
    PLATFORM,
    LocalImage,
    client_failure,
    described,
    engine_message,
    inspected,
)
from deployer.adapters.docker.messages import build_failure
from deployer.adapters.docker.streams import BuildStream, Teller
from deployer.adapters.leaks import Leaks
from deployer.adapters.text import clean
from deployer.events import Progress
from deployer.failures import Failure, Kind
from deployer.model import Image
from deployer.names import ImageId
from deployer.states.flow import State

_PIECE: Final = (
    1 << 20
)  # bytes; the 8 KiB that aiodocker asks for cost a third more time (measured)


class Build:
    """Sends a packed context and follows the engine until the image is there."""

    def __init__(
        self, packed: PackedContext, tag: str, teller: Teller, idle: float, leaks: Leaks
    ) -> None:
        """Build `packed` as `tag`; `idle` is how long the engine may be silent, in seconds.

        `leaks`: what the image may not tell.
        """
        self._leaks = leaks
        self._packed = packed
        self._tag = tag
        self._teller = teller
        self._stream = BuildStream(teller)
        self._idle = idle

    async def run(self, engine: aiodocker.Docker) -> Image | Failure:
        """The image, once the engine has named it and has it under the tag. Raises CLIENT_ERRORS."""
        with anyio.move_on_after(self._idle) as silence:

            def alive() -> None:
                silence.deadline = anyio.current_time() + self._idle

            async for line in engine.images.build(
                fileobj=_Upload(self._packed, self._teller, alive),
                encoding="identity",
                path_dockerfile=self._packed.dockerfile,
                tag=self._tag,
                platform="/".join(PLATFORM),
                rm=True,
                forcerm=True,
                stream=True,
            ):
                alive()
                self._stream.take(line)
        self._stream.flush()
        if silence.cancelled_caught:
            return self._failure(Kind.ENGINE_SILENT, f"no word for {self._idle:.0f} s")
        self._stream.finish()
        if self._stream.image_id is None:
            return self._failure(Kind.ENGINE_DIED, "the build ended without an image id")
        image = self._checked(self._stream.image_id, await inspected(engine, self._tag))
        if isinstance(image, Failure) or not self._leaks:
            return image
        # ARG and ENV stay in the image for whoever can pull it.
        if self._leaks.in_bytes(await described(engine, self._tag)):
            cause = "the image's history or configuration holds a password that this deploy knows"
            return self._failure(Kind.SECRET_IN_IMAGE, cause)
        return image

    def trouble(self, error: Exception) -> Failure:
        """What one of CLIENT_ERRORS means for this build."""
        self._stream.flush()
        if said := engine_message(error):
            return build_failure(*said, output=self._teller.tail)
        return client_failure(error, State.IMAGING, Kind.ENGINE_DIED)

    def _checked(self, built: ImageId, found: LocalImage | None) -> Image | Failure:
        # The engine names the image of each stage, and sets the tag when the last one is done.
        if found is None or found.image_id != built:
            return self._failure(Kind.ENGINE_DIED, f"{self._tag} is not the image that was built")
        if (found.os, found.architecture) != PLATFORM:
            made, wanted = f"{found.os}/{found.architecture}", "/".join(PLATFORM)
            return self._failure(Kind.WRONG_PLATFORM, f"the image is for {made}, not for {wanted}")
        return found.under(self._tag)

    def _failure(self, kind: Kind, cause: str) -> Failure:
        return Failure(
            phase=State.IMAGING, kind=kind, cause=clean(cause), details=tuple(self._teller.tail)
        )


class _Upload:
    """The tar as aiodocker reads it, in large pieces, telling how far it is."""

    def __init__(self, packed: PackedContext, teller: Teller, alive: Callable[[], None]) -> None:
        self._packed = packed
        self._teller = teller
        self._alive = alive
        self._sent = 0

    def read(self, _length: int = -1, /) -> bytes:
        self._alive()
        piece = self._packed.file.read(_PIECE)
        self._sent += len(piece)
        self._teller.progress(
            Progress(what="upload", done=self._sent, total=self._packed.size, unit="bytes")
        )
        return piece
