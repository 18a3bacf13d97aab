"""An image of FROM, COPY and settings, handed to the engine layer by layer instead of built by it.

The engine's own layers carry the time of each copy, so that a push sends all of them again that
follow a changed one. Ours are the same bytes for the same files: a push sends what changed, and
nothing is unpacked twice. What does not fit, or is refused, is left to a build.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import aiodocker
import anyio
from anyio import CapacityLimiter, from_thread, to_thread

from deployer.adapters.context.tar import ChangedError, UnreadableError
from deployer.adapters.direct.assembly import Assembly, image_config
from deployer.adapters.direct.blueprint import drawn, read_program
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.layer_tar import gathered
from deployer.adapters.direct.layers import Layers
from deployer.adapters.direct.saved import read_saved
from deployer.adapters.direct.values import Base, Layer, RefusedError
from deployer.adapters.docker.archive import Archive
from deployer.adapters.docker.client import (
    CALL_SECONDS,
    LOCAL_NAME,
    PLATFORM,
    inspected,
)
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.docker.streams import Teller
from deployer.adapters.leaks import Leaks
from deployer.adapters.scratch import scratch_file
from deployer.adapters.threads import in_thread
from deployer.events import Progress
from deployer.failures import Failure, Kind
from deployer.model import Image
from deployer.ports import ImageOrder
from deployer.states.flow import State

# Engines that keep layers one by one, and take those alone that they lack. containerd's store
# wants each blob of an image, and Podman, whose driver is "overlay", each layer.
_DRIVERS: Final = frozenset({"overlay2", "fuse-overlayfs", "btrfs", "zfs", "vfs"})
_PIECE: Final = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What makes layers, and remembers them."""

    cupboard: Cupboard
    layers: Layers
    images: KnownImages
    leaks: Leaks


class Loading:
    """One image on its way to one engine."""

    def __init__(self, workshop: Workshop, order: ImageOrder, teller: Teller, idle: float) -> None:
        """Make what `order` wants; `idle` is how long the engine may be silent, in seconds."""
        self._shop = workshop
        self._order = order
        self._teller = teller
        self._idle = idle
        self._silence = anyio.CancelScope()

    async def run(self, engine: aiodocker.Docker) -> Image | Failure | None:
        """The image, once the engine has it under its tag; None: it must be built.

        The failure is an engine that fell silent. Raises CLIENT_ERRORS.
        """
        with self._silence:
            self._alive()
            try:
                return await self._run(engine)
            except (RefusedError, ChangedError, UnreadableError):
                return None  # a build says it better
        cause = f"no word for {self._idle:.0f} s"
        return Failure(phase=State.IMAGING, kind=Kind.ENGINE_SILENT, cause=cause)

    async def _run(self, engine: aiodocker.Docker) -> Image | None:
        program = await in_thread(lambda: read_program(self._order))
        if isinstance(program, Failure):
            return None
        base = await self._base(engine, program.base)
        if base is None:
            return None
        made = await in_thread(lambda: drawn(self._order, program, base))
        if isinstance(made, Failure):
            return None
        assembly, _ = made
        layers = await self._shop.layers.all(self._order.project_root, assembly.layers)
        if isinstance(layers, Failure):
            return None
        archive = await self._archive(engine, base, assembly, layers)
        if self._shop.leaks.in_bytes(archive.config.encode()):
            return None
        return await self._load(engine, archive)

    async def _base(self, engine: aiodocker.Docker, name: str) -> Base | None:
        """The base image as this engine has it, which is what its build would take."""
        found = await inspected(engine, name) if LOCAL_NAME.fullmatch(name) else None
        if found is None or found.has_triggers or (found.os, found.architecture) != PLATFORM:
            return None
        with anyio.fail_after(CALL_SECONDS):
            told = await engine.system.info()
        if told.get("Driver") not in _DRIVERS:
            return None
        known = await in_thread(lambda: self._shop.cupboard.base(found.image_id))
        if known is not None:
            return known
        with scratch_file() as file:
            async with engine.images.export_image(found.image_id) as saved:
                async for piece in saved.iter_chunked(_PIECE):
                    self._alive()
                    file.write(piece)
            file.seek(0)
            base = await in_thread(lambda: read_saved(file, found.image_id))
        await in_thread(lambda: self._shop.cupboard.keep_base(base.digest, base))
        return base

    async def _archive(
        self, engine: aiodocker.Docker, base: Base, assembly: Assembly, layers: tuple[Layer, ...]
    ) -> Archive:
        below = base.diff_ids
        ours = [layer.diff_id for layer in layers]
        known = await in_thread(lambda: self._shop.images.loaded(self._order.project_root))
        last = await inspected(engine, known) if known else None
        return Archive(
            root=self._order.project_root,
            tag=self._order.local_tag,
            config=image_config(base, assembly, ours),
            below=below,
            layers=layers,
            there=max(0, _shared([*below, *ours], last.diff_ids if last else ()) - len(below)),
        )

    async def _load(self, engine: aiodocker.Docker, archive: Archive) -> Image | None:
        upload = _Upload(archive, self._teller, self._alive)
        try:
            async for _ in engine.images.import_image(upload.pieces(), stream=True):
                self._alive()
        except Exception:
            if upload.error is not None:
                raise upload.error from None
            raise
        found = await inspected(engine, archive.tag)
        if found is None or found.image_id != archive.image_id:
            return None
        root, image = self._order.project_root, archive.image_id
        await in_thread(lambda: self._shop.images.keep_loaded(root, image))
        sent, of = len(archive.sent), len(archive.layers)
        self._teller.line(f"{image}: {sent} of {of} layers loaded, {archive.size / 1e6:.0f} MB")
        return found.under(archive.tag)

    def _alive(self) -> None:
        self._silence.deadline = anyio.current_time() + self._idle


class _Upload:
    """The archive as aiohttp takes it; `error` is what was wrong with a source."""

    def __init__(self, archive: Archive, teller: Teller, alive: Callable[[], None]) -> None:
        self.error: ChangedError | UnreadableError | None = None
        self._archive = archive
        self._teller = teller
        self._alive = alive

    async def pieces(self) -> AsyncIterator[bytes]:
        thread, sent = CapacityLimiter(1), 0
        with closing(gathered(self._archive.pieces(from_thread.check_cancelled))) as pieces:
            while (piece := await to_thread.run_sync(self._next, pieces, limiter=thread)) != b"":
                yield piece
                self._alive()
                sent = min(sent + len(piece), self._archive.size)
                told = Progress(what="upload", done=sent, total=self._archive.size, unit="bytes")
                self._teller.progress(told)

    def _next(self, pieces: Iterator[bytes]) -> bytes:
        try:
            return next(pieces, b"")
        except (ChangedError, UnreadableError) as error:
            self.error = error  # aiohttp would call it a broken connection
            raise


def _shared(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many layers, from the lowest up, are the same in both."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next(
        (place for place, (one, other) in pairs if one != other), min(len(ours), len(theirs))
    )
