"""A project, a registry with a base image, and a direct builder between them."""

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
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
from tests.servers.registry import MemoryRegistry, memory_registry, with_base

DOCKERFILE = """\
FROM base:1
WORKDIR /app
COPY bin/ /app/bin/
COPY notes.txt /app/
CMD ["/app/bin/one"]
"""
TAG = "run:1"


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


def base_layer(*, link: str | None = None, files: Mapping[str, str] | None = None) -> bytes:
    """A plain tar of two directories, a link, and files without entries for what is above them."""
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
        for name, text in (files or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


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
