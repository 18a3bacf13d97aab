"""A project, a registry with a base image, and a direct builder between them."""

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.adapters.clock import SystemClock
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.http.client import Http
from deployer.adapters.leaks import Leaks
from deployer.events import Transient
from deployer.failures import Failure
from deployer.model import Image, Login, Secret
from deployer.names import Digest, ImageRef
from deployer.ports import ImageOrder
from tests.servers.registry import MemoryRegistry, memory_registry, sha

DOCKERFILE = """\
FROM base:1
WORKDIR /app
COPY bin/ /app/bin/
COPY notes.txt /app/
CMD ["/app/bin/one"]
"""
TAG = "run:1"
DOCKER = "application/vnd.docker."
MANIFEST = DOCKER + "distribution.manifest.v2+json"


@dataclass
class Place:
    """A project, a registry with a base image, and a builder between them."""

    registry: MemoryRegistry
    builder: DirectBuilder
    root: Path
    told: list[Transient]

    @property
    def order(self) -> ImageOrder:
        return ImageOrder(project_root=self.root, dockerfile=Path("Dockerfile"), local_tag=TAG)

    @property
    def target(self) -> ImageRef:
        return ImageRef(self.registry.address, "app", "v1")

    @property
    def login(self) -> Login:
        return Login(registry=self.registry.address, username="x", password=Secret("password"))

    async def build(self) -> Image | Failure:
        return await self.builder.build(self.order, self.told.append)

    async def push(self) -> Digest | Failure:
        return await self.builder.push(TAG, self.target, self.login, self.told.append)

    async def image(self) -> Image:
        image = await self.build()
        assert isinstance(image, Image), image
        return image

    async def pushed(self) -> Digest:
        await self.image()
        digest = await self.push()
        assert isinstance(digest, str), digest
        return digest


def base_layer(*, link: str | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("usr", "etc"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "usr"
            tar.addfile(info)
    return out.getvalue()


def base_image(plain: bytes | None = None, **config: object) -> tuple[bytes, bytes, bytes]:
    """An image with one layer: the layer, the configuration, the manifest."""
    plain = base_layer() if plain is None else plain
    layer = gzip.compress(plain, mtime=0)
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [sha(plain)]},
        **config,
    }
    text = json.dumps(described).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(DOCKER + "container.image.v1+json", text),
        "layers": [blob(DOCKER + "image.rootfs.diff.tar.gzip", layer)],
    }
    return layer, text, json.dumps(manifest).encode()


def with_base(registry: MemoryRegistry, plain: bytes, **config: object) -> None:
    """Put an image with one layer under `library/base:1`."""
    layer, text, body = base_image(plain, **config)
    registry.blobs |= {sha(layer): layer, sha(text): text}
    registry.manifests |= {"1": (MANIFEST, body), sha(body): (MANIFEST, body)}


def blob(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(data), "digest": sha(data)}


@asynccontextmanager
async def place(
    root: Path, state: Path | None = None, leaks: Leaks | None = None, **misbehaviour: object
) -> AsyncIterator[Place]:
    async with memory_registry() as registry, Http(kept_connections=4) as http:
        with_base(registry, base_layer())
        for name, value in misbehaviour.items():
            setattr(registry, name, value)
        builder = DirectBuilder(
            http,
            cupboard=Cupboard(state or root.parent / "state"),
            clock=SystemClock(),
            base_registry=registry.address,
            leaks=leaks,
        )
        yield Place(registry, builder, root, [])
