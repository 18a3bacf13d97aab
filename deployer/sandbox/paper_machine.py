"""A machine that can run no container: it reads the image instead, byte by byte."""

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
import zlib
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from anyio import to_thread

from deployer.sandbox.options import Tenant
from deployer.sandbox.shelf import Shelf, ShelfError

_HEALTH: Final = ("/health", "/api/v1/health")
_EXECUTE: Final = 0o111
_BROKEN: Final = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)


class _Unsound(Exception):  # noqa: N818  # the image is not what it says
    """Why no engine could run the image."""


@dataclass(slots=True)
class PaperMachine:
    """Takes an image for running when every byte of it is there and its program is, too."""

    tenant: Tenant
    shelf: Shelf
    _digest: str | None = None  # of the image that was found sound
    _found: str = ""

    async def update(self, image: str) -> str | None:
        """Read `name@digest`; None if an engine could run it, else why not."""
        name, _, digest = image.partition("@")
        try:
            self._found = await self._read(name.partition("/")[2], digest)
        except (ShelfError, _Unsound) as error:
            return f"the image is not sound: {error}"
        self._digest = digest
        return None

    async def alive(self) -> bool:
        """Whether an image was found sound."""
        return self._digest is not None

    async def stop(self) -> None:
        """Forget the image."""
        self._digest = None

    def answer(self, path: str) -> web.Response:
        """What the tenant's public URL answers."""
        if self._digest is None:
            return web.json_response({"error": "no image was deployed"}, status=502)
        if path in _HEALTH:
            return web.json_response({"status": "ok", "container": False})
        text = f"no container can run here; checked {self._digest}: {self._found}\n"
        return web.Response(text=text)

    async def _read(self, repository: str, digest: str) -> str:
        manifest = json.loads(await self.shelf.blob(repository, f"manifests/{digest}", digest))
        config = json.loads(await self._blob(repository, manifest["config"]))
        diff_ids = config["rootfs"]["diff_ids"]
        if len(diff_ids) != len(manifest["layers"]):
            raise _Unsound("config and manifest differ in their layers")
        modes: dict[str, int] = {}
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True):
            packed = await self._blob(repository, layer)
            modes |= await to_thread.run_sync(_modes, packed, diff_id)
        program = _program(config["config"])
        if not modes.get(program.lstrip("/"), 0) & _EXECUTE:
            raise _Unsound(f"it has no executable {program}")
        return f"{len(diff_ids)} layers, {len(modes)} files, runs {program}"

    async def _blob(self, repository: str, described: dict[str, Any]) -> bytes:
        digest = str(described["digest"])
        return await self.shelf.blob(repository, f"blobs/{digest}", digest)


def _modes(packed: bytes, diff_id: str) -> dict[str, int]:
    """The modes of a layer's members by path. Blocks."""
    try:
        plain = gzip.decompress(packed)
        if f"sha256:{hashlib.sha256(plain).hexdigest()}" != diff_id:
            raise _Unsound(f"a layer unpacks to something else than {diff_id}")
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            return {posixpath.normpath(each.name): each.mode for each in tar}
    except _BROKEN as error:
        raise _Unsound(f"the layer {diff_id} cannot be read: {error}") from error


def _program(config: dict[str, Any]) -> str:
    argv = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not argv:
        raise _Unsound("it has no command")
    return str(argv[0])
