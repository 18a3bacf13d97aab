"""Blobs on their way into one repository: what it has already is not sent."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter

from deployer.adapters.direct.blobs import Sum, has, mounted
from deployer.adapters.direct.codec import Codec, next_codec
from deployer.adapters.direct.cupboard import Cupboard, KnownBlob
from deployer.adapters.direct.repository import Repository
from deployer.adapters.direct.sources import Balance, CopiedSource, Moved, PackedSource
from deployer.adapters.direct.uploads import uploaded
from deployer.adapters.direct.values import Blob, Layer
from deployer.adapters.http.url import is_loopback
from deployer.events import Progress
from deployer.failures import Failure
from deployer.ports import Emit

_AT_ONCE: Final = 3  # blobs; each holds some pieces of 512 KiB
_TELLING: Final = 16_000_000  # bytes below which nothing is learnt about the uplink


@dataclass(slots=True, kw_only=True)
class Sender:
    """Brings layers and the base's blobs into `repository`."""

    root: Path  # of the project
    repository: Repository
    base: Repository  # where the base's layers are
    cupboard: Cupboard
    emit: Emit
    _sending: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_AT_ONCE))
    _balance: Balance = field(default_factory=Balance)
    _codec: Codec = field(init=False)

    def __post_init__(self) -> None:
        """Choose by what suited the uplink the last time."""
        known = self.cupboard.codec(self.repository.registry)
        local = is_loopback(self.repository.registry.rpartition(":")[0])
        self._codec = known or (Codec.FAST if local else Codec.SMALL)

    async def layer(self, layer: Layer) -> Sum | Failure:
        """The compressed layer, once the repository has it."""
        known = self.cupboard.blob(layer.diff_id)
        if known is not None:
            there = await self._is_there(known.digest, known.size, self._mountable(known))
            if isinstance(there, Failure):
                return there
            if there:
                return Sum(known.digest, known.size)
        source = PackedSource(
            root=self.root,
            layer=layer,
            # The codec of the first time gives the digest of the first time.
            codec=known.codec if known else self._codec,
            balance=self._balance,
            moved=self._telling(layer.diff_id, layer.size),
        )
        async with self._sending:
            total = await uploaded(self.repository, source)
        if isinstance(total, Sum):
            self._keep(layer, total, source.codec)
        return total

    async def base_layer(self, blob: Blob) -> Failure | None:
        """None, once the repository has this layer of the base image."""
        same = self.base.registry == self.repository.registry
        there = await self._is_there(blob.digest, blob.size, self.base.name if same else None)
        if isinstance(there, Failure) or there:
            return there if isinstance(there, Failure) else None
        source = CopiedSource(self.base, blob, self._telling(blob.digest, blob.size))
        async with self._sending:
            total = await uploaded(self.repository, source)
        return total if isinstance(total, Failure) else None

    def learn(self) -> None:
        """Remember which codec suits the uplink, where enough was sent to tell."""
        balance = self._balance
        if balance.sent >= _TELLING:
            suits = next_codec(self._codec, balance.starved, balance.blocked)
            self.cupboard.keep_codec(self.repository.registry, suits)

    def _keep(self, layer: Layer, total: Sum, codec: Codec) -> None:
        known = KnownBlob(
            digest=total.digest,
            size=total.size,
            codec=codec,
            registry=self.repository.registry,
            repository=self.repository.name,
        )
        self.cupboard.keep_blob(layer.diff_id, known)

    def _mountable(self, known: KnownBlob) -> str | None:
        here = known.registry == self.repository.registry
        return known.repository if here and known.repository != self.repository.name else None

    async def _is_there(self, digest: str, size: int, mount_from: str | None) -> bool | Failure:
        found = await has(self.repository, digest, size)
        if found is False and mount_from is not None:
            return await mounted(self.repository, digest, mount_from)
        return found

    def _telling(self, digest: str, size: int) -> Moved:
        name = f"layer {digest.removeprefix('sha256:')[:12]}"
        return lambda done: self.emit(Progress(what=name, done=done, total=size, unit="bytes"))
