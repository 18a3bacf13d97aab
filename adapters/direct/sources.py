"""Where a blob's bytes come from: sources on the disk, or the base image's registry."""

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from deployer.adapters.direct.base import not_copied
from deployer.adapters.direct.blobs import Sum
from deployer.adapters.direct.codec import Codec
from deployer.adapters.direct.packing import Packed, packing
from deployer.adapters.direct.repository import Repository
from deployer.adapters.direct.uploads import Sending
from deployer.adapters.direct.values import Blob, Layer
from deployer.adapters.http.exchange import Download
from deployer.adapters.registry.errors import registry_failure, registry_trouble
from deployer.failures import Failure, Kind

Moved = Callable[[int], None]  # so many bytes of the source have been taken


@dataclass(slots=True)
class Balance:
    """Who waited for whom during the uploads, in seconds."""

    starved: float = 0.0  # the network, for the compressor
    blocked: float = 0.0  # the compressor, for the network
    sent: int = field(default=0)  # bytes


@dataclass(slots=True)
class _PackedSending:
    layer: Layer
    packed: Packed
    stream: MemoryObjectReceiveStream[bytes]
    balance: Balance
    moved: Moved

    def pieces(self) -> AsyncIterable[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        before = anyio.current_time()
        async for piece in self.stream:
            began = anyio.current_time()
            self.balance.starved += began - before
            self.balance.sent += len(piece)
            self.moved(self.packed.read)
            yield piece
            before = anyio.current_time()
            self.balance.blocked += before - began

    def finished(self) -> Sum | Failure:
        packed = self.packed
        if packed.error is None and packed.diff_id == self.layer.diff_id:
            return Sum(packed.digest, packed.size)
        what = packed.error or "a source"
        return registry_failure(
            Kind.IMAGE_NOT_LOCAL, f"{what} changed since the image was made: make it again"
        )


@dataclass(slots=True)
class PackedSource:
    """A layer that is compressed while it is sent."""

    root: Path
    layer: Layer
    codec: Codec
    balance: Balance
    moved: Moved

    @asynccontextmanager
    async def __call__(self, skip: int) -> AsyncIterator[Sending]:
        """The layer's bytes, without the first `skip`."""
        async with packing(self.root, self.layer, self.codec, skip) as (packed, stream):
            yield _PackedSending(self.layer, packed, stream, self.balance, self.moved)


@dataclass(slots=True)
class _CopiedSending:
    name: str
    blob: Blob
    found: Download | Failure
    skip: int
    moved: Moved

    def pieces(self) -> AsyncIterable[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        if isinstance(self.found, Failure):
            return
        done = 0
        async for piece in self.found.pieces():
            begin = max(0, self.skip - done)
            done += len(piece)
            self.moved(done)
            if done > self.blob.size:
                return  # and the digest will not be the blob's
            if begin < len(piece):
                yield piece[begin:]

    def finished(self) -> Sum | Failure:
        if isinstance(self.found, Failure):
            return not_copied(self.found, self.name)
        if self.found.trouble is not None:
            return not_copied(registry_trouble(self.found.trouble), self.name)
        # The registry compares the bytes with this digest.
        return Sum(self.blob.digest, self.blob.size)


@dataclass(slots=True)
class CopiedSource:
    """A base image's layer, taken from its registry while it is sent."""

    repository: Repository
    blob: Blob
    moved: Moved

    @asynccontextmanager
    async def __call__(self, skip: int) -> AsyncIterator[Sending]:
        """The blob's bytes, without the first `skip`."""
        path = f"blobs/{self.blob.digest}"
        async with self.repository.download(path, {}) as found:
            name = f"{self.repository.name}/{path}"
            yield _CopiedSending(name, self.blob, found, skip, self.moved)
