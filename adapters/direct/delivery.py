"""One push: what the registry lacks, layers side by side, and the manifest last."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final

import anyio
from anyio.abc import TaskGroup

from deployer.adapters.direct.blobs import has, put
from deployer.adapters.direct.sender import Sender
from deployer.adapters.direct.values import Blob, Layer, Recipe
from deployer.adapters.registry.errors import registry_failure, registry_refusal
from deployer.failures import Failure, Kind
from deployer.names import Digest, InvalidNameError, parse_digest

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
    sender: Sender
    _failures: list[Failure] = field(default_factory=list)
    _blobs: dict[int, Blob] = field(default_factory=dict)  # of our own layers, by their place

    async def deliver(self, tag: str) -> Digest | Failure:
        """The digest, once the registry has named it for the manifest under `tag`."""
        # The first request alone: it settles how the registry wants its login.
        config = await self._config()
        if isinstance(config, Failure):
            return config
        async with anyio.create_task_group() as group:
            for place, layer in self._largest_first():
                group.start_soon(self._carry, partial(self._layer, place, layer), group)
            for blob in self.recipe.base_layers:
                group.start_soon(self._carry, partial(self.sender.base_layer, blob), group)
        if self._failures:
            return self._failures[0]
        self.sender.learn()
        return await self._put_manifest(tag, config)

    async def _carry(self, work: Callable[[], Awaitable[Failure | None]], group: TaskGroup) -> None:
        failure = await work()
        if failure is not None:
            self._failures.append(failure)
            group.cancel_scope.cancel()

    def _largest_first(self) -> list[tuple[int, Layer]]:
        return sorted(enumerate(self.recipe.layers), key=lambda each: -each[1].size)

    async def _layer(self, place: int, layer: Layer) -> Failure | None:
        total = await self.sender.layer(layer)
        if isinstance(total, Failure):
            return total
        kind = _OCI_LAYER if self.recipe.oci else _DOCKER_LAYER
        self._blobs[place] = Blob(media_type=kind, digest=total.digest, size=total.size)
        return None

    async def _config(self) -> Blob | Failure:
        data = self.recipe.config.encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        there = await has(self.sender.repository, digest, len(data))
        if isinstance(there, Failure):
            return there
        if not there:
            total = await put(self.sender.repository, data, digest)
            if isinstance(total, Failure):
                return total
        kind = _OCI_CONFIG if self.recipe.oci else _DOCKER_CONFIG
        return Blob(media_type=kind, digest=digest, size=len(data))

    async def _put_manifest(self, tag: str, config: Blob) -> Digest | Failure:
        """The only moment in which anybody else sees the image."""
        ours = [self._blobs[place] for place in range(len(self.recipe.layers))]
        kind = _OCI if self.recipe.oci else _DOCKER
        data = _manifest(kind, config, [*self.recipe.base_layers, *ours])
        answer = await self.sender.repository.ask(
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
