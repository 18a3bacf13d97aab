"""One push: what the registry lacks, layers side by side, and the manifest last."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import anyio

from deployer.adapters.direct.blobs import Sum, has, mounted, put
from deployer.adapters.direct.codec import Codec, next_codec
from deployer.adapters.direct.cupboard import Cupboard, KnownBlob
from deployer.adapters.direct.repository import Repository
from deployer.adapters.direct.sources import Balance, CopiedSource, Moved, PackedSource
from deployer.adapters.direct.uploads import uploaded
from deployer.adapters.direct.values import Blob, Layer, Recipe
from deployer.adapters.http.url import is_loopback
from deployer.adapters.registry.errors import registry_failure, registry_refusal
from deployer.events import Progress
from deployer.failures import Failure, Kind
from deployer.names import Digest, InvalidNameError, parse_digest
from deployer.ports import Emit

_AT_ONCE: Final = 3  # layers; each holds some pieces of 512 KiB
_TELLING: Final = 16_000_000  # bytes below which nothing is learnt about the uplink
_DOCKER: Final = "application/vnd.docker.distribution.manifest.v2+json"
_OCI: Final = "application/vnd.oci.image.manifest.v1+json"
_DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"


@dataclass(slots=True, kw_only=True)
class Delivery:
    """Pushes the image of one recipe into one repository."""

    recipe: Recipe
    repository: Repository
    base: Repository  # where the base's layers are
    cupboard: Cupboard
    emit: Emit
    _uploading: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(_AT_ONCE)
    )
    _balance: Balance = field(default_factory=Balance)
    _failures: list[Failure] = field(default_factory=list)
    _blobs: dict[int, Blob] = field(default_factory=dict)  # of our own layers, by their place

    async def deliver(self, tag: str) -> Digest | Failure:
        """The digest, once the registry has named it for the manifest under `tag`."""
        codec = self._codec()
        # The first request alone: it settles how the registry wants its login.
        config = await self._config()
        if isinstance(config, Failure):
            return config
        async with anyio.create_task_group() as group:
            for place, layer in self._largest_first():
                work = self._layer_work(place, layer, codec)
                group.start_soon(self._carry, work, group.cancel_scope)
            for blob in self.recipe.base_layers:
                group.start_soon(self._carry, self._base_work(blob), group.cancel_scope)
        if self._failures:
            return self._failures[0]
        self._learn(codec)
        return await self._put_manifest(tag, config)

    async def _carry(
        self, work: Callable[[], Awaitable[Failure | None]], scope: anyio.CancelScope
    ) -> None:
        failure = await work()
        if failure is not None:
            self._failures.append(failure)
            scope.cancel()

    def _largest_first(self) -> list[tuple[int, Layer]]:
        return sorted(enumerate(self.recipe.layers), key=lambda each: -each[1].size)

    def _layer_work(
        self, place: int, layer: Layer, codec: Codec
    ) -> Callable[[], Awaitable[Failure | None]]:
        async def work() -> Failure | None:
            blob = await self._layer(layer, codec)
            if isinstance(blob, Failure):
                return blob
            self._blobs[place] = blob
            return None

        return work

    async def _layer(self, layer: Layer, codec: Codec) -> Blob | Failure:
        known = self.cupboard.blob(layer.diff_id)
        if known is not None:
            there = await self._is_there(known.digest, known.size, self._mountable(known))
            if isinstance(there, Failure):
                return there
            if there:
                return self._our(Sum(known.digest, known.size))
        source = PackedSource(
            root=Path(self.recipe.project_root),
            layer=layer,
            # The codec of the first time gives the digest of the first time.
            codec=known.codec if known else codec,
            balance=self._balance,
            moved=self._telling(layer.diff_id, layer.size),
        )
        async with self._uploading:
            total = await uploaded(self.repository, source)
        if isinstance(total, Failure):
            return total
        self._keep(layer, total, source.codec)
        return self._our(total)

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

    def _base_work(self, blob: Blob) -> Callable[[], Awaitable[Failure | None]]:
        async def work() -> Failure | None:
            same = self.base.registry == self.repository.registry
            there = await self._is_there(blob.digest, blob.size, self.base.name if same else None)
            if isinstance(there, Failure) or there:
                return there if isinstance(there, Failure) else None
            source = CopiedSource(self.base, blob, self._telling(blob.digest, blob.size))
            async with self._uploading:
                total = await uploaded(self.repository, source)
            return total if isinstance(total, Failure) else None

        return work

    async def _is_there(self, digest: str, size: int, mount_from: str | None) -> bool | Failure:
        found = await has(self.repository, digest, size)
        if found is False and mount_from is not None:
            return await mounted(self.repository, digest, mount_from)
        return found

    async def _config(self) -> Blob | Failure:
        data = self.recipe.config.encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        there = await has(self.repository, digest, len(data))
        if isinstance(there, Failure):
            return there
        if not there:
            total = await put(self.repository, data, digest)
            if isinstance(total, Failure):
                return total
        kind = _OCI_CONFIG if self.recipe.oci else _DOCKER_CONFIG
        return Blob(media_type=kind, digest=digest, size=len(data))

    async def _put_manifest(self, tag: str, config: Blob) -> Digest | Failure:
        """The only moment in which anybody else sees the image."""
        ours = [self._blobs[place] for place in range(len(self.recipe.layers))]
        kind = _OCI if self.recipe.oci else _DOCKER
        data = _manifest(kind, config, [*self.recipe.base_layers, *ours])
        answer = await self.repository.ask(
            "PUT", f"manifests/{tag}", headers={"content-type": kind}, content=data
        )
        if isinstance(answer, Failure):
            return answer
        if answer.status != HTTPStatus.CREATED:
            return registry_refusal(answer)
        digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
        try:
            named = parse_digest(answer.headers.get("docker-content-digest", digest))
        except InvalidNameError as error:
            return registry_failure(Kind.DIGEST_MISMATCH, str(error), answer)
        if named == digest:
            return digest
        cause = f"sent the manifest {digest}, and the registry stored {named}"
        return registry_failure(Kind.DIGEST_MISMATCH, cause, answer)

    def _our(self, total: Sum) -> Blob:
        kind = _OCI_LAYER if self.recipe.oci else _DOCKER_LAYER
        return Blob(media_type=kind, digest=total.digest, size=total.size)

    def _telling(self, digest: str, size: int) -> Moved:
        name = f"layer {digest.removeprefix('sha256:')[:12]}"
        return lambda done: self.emit(Progress(what=name, done=done, total=size, unit="bytes"))

    def _codec(self) -> Codec:
        known = self.cupboard.codec(self.repository.registry)
        local = is_loopback(self.repository.registry.rpartition(":")[0])
        return known or (Codec.FAST if local else Codec.SMALL)

    def _learn(self, codec: Codec) -> None:
        balance = self._balance
        if balance.sent >= _TELLING:
            suits = next_codec(codec, balance.starved, balance.blocked)
            self.cupboard.keep_codec(self.repository.registry, suits)


def _manifest(kind: str, config: Blob, layers: list[Blob]) -> bytes:
    described = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": _described(config),
        "layers": [_described(layer) for layer in layers],
    }
    return json.dumps(described, separators=(",", ":")).encode()


def _described(blob: Blob) -> dict[str, str | int]:
    return {"mediaType": blob.media_type, "size": blob.size, "digest": blob.digest}
