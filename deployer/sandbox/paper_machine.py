"""A machine that can run no container: it reads the image instead, byte by byte."""

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import aiohttp
from aiohttp import web
from anyio import from_thread, to_thread

from deployer.sandbox.options import Tenant
from deployer.sandbox.shelf import Shelf, ShelfError

_HEALTH: Final = ("/health", "/api/v1/health")
_EXECUTE: Final = 0o111
_PIECE: Final = 1 << 18  # bytes
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
            modes |= await self._modes(repository, str(layer["digest"]), diff_id)
        program = _program(config["config"])
        if not modes.get(program.lstrip("/"), 0) & _EXECUTE:
            raise _Unsound(f"it has no executable {program}")
        return f"{len(diff_ids)} layers, {len(modes)} files, runs {program}"

    async def _blob(self, repository: str, described: dict[str, Any]) -> bytes:
        digest = str(described["digest"])
        return await self.shelf.blob(repository, f"blobs/{digest}", digest)

    async def _modes(self, repository: str, digest: str, diff_id: str) -> dict[str, int]:
        """The modes of a layer's members by path. Layers are large: none is held as a whole."""
        async with self.shelf.stream(repository, digest) as content:
            return await to_thread.run_sync(_read_layer, content, digest, diff_id)


class _Summed(io.RawIOBase):
    """Reads on, and keeps the digest of what was read."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._sum = hashlib.sha256()
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # At its end aiohttp wants to be left alone: it warns of a loop at the sixth question.
        data = b"" if self._ended else self._read(len(buffer))
        self._ended = not data
        self._sum.update(data)
        buffer[: len(data)] = data
        return len(data)

    def digest(self) -> str:
        """The digest of all there is: reads to the end."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._sum.hexdigest()}"


def _read_layer(content: aiohttp.StreamReader, digest: str, diff_id: str) -> dict[str, int]:
    packed = _Summed(partial(from_thread.run, content.read))
    buffered = io.BufferedReader(packed, _PIECE)
    try:
        with gzip.GzipFile(fileobj=buffered) as unpacked:
            plain = _Summed(unpacked.read)
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                modes = {posixpath.normpath(each.name): each.mode for each in tar}
            found = plain.digest()
    except _BROKEN as error:
        raise _Unsound(f"the layer {diff_id} cannot be read: {error}") from error
    if packed.digest() != digest:
        raise _Unsound(f"the registry sends something else than {digest}")
    if found != diff_id:
        raise _Unsound(f"a layer unpacks to something else than {diff_id}")
    return modes


def _program(config: dict[str, Any]) -> str:
    argv = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    if not argv:
        raise _Unsound("it has no command")
    return str(argv[0])
