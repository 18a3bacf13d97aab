"""A registry in memory that speaks the distribution protocol, and misbehaves as a test asks."""

import gzip
import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

DOCKER = "application/vnd.docker."
MANIFEST = DOCKER + "distribution.manifest.v2+json"


@dataclass
class MemoryRegistry:
    """What it keeps, what it was asked, and how it misbehaves."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # tag or digest
    uploads: dict[str, bytearray] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: int = 0  # bytes of blobs
    cut_after: list[int] = field(default_factory=list)  # bytes of a PATCH; each entry strikes once
    forgets_cut: bool = False  # loses the upload that was cut
    refuses_chunks: bool = False
    lies: bool = False  # about the digest of what it stored
    location_host: str | None = None
    tokens: bool = False  # wants a Bearer token from its own /token
    valid_tokens: set[str] = field(default_factory=set)
    expires_at_patch: bool = False  # the token ends before the first body
    answers: dict[str, list[web.Response]] = field(default_factory=dict)  # by method, one each
    address: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/token", self._token)
        app.router.add_get("/v2/", self._root)
        app.router.add_route("*", "/v2/{name:.+}/blobs/uploads/", self._begin)
        app.router.add_route("*", "/v2/{name:.+}/blobs/uploads/{id}", self._upload)
        app.router.add_route("*", "/v2/{name:.+}/blobs/{digest}", self._blob)
        app.router.add_route("*", "/v2/{name:.+}/manifests/{reference}", self._manifest)
        return app

    async def _root(self, request: web.Request) -> web.Response:
        return self._refusal(request) or web.json_response({})

    def _refusal(self, request: web.Request) -> web.Response | None:
        self.asked.append(f"{request.method} {request.path_qs}")
        queued = self.answers.get(request.method)
        if queued:
            return queued.pop(0)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens and token not in self.valid_tokens:
            challenge = f'Bearer realm="http://{self.address}/token",service="memory"'
            return error(401, "UNAUTHORIZED", {"www-authenticate": challenge})
        return None

    async def _token(self, request: web.Request) -> web.Response:
        self.asked.append(f"GET /token {request.query.get('scope', '')}")
        token = f"token-{next(self._numbers)}"
        self.valid_tokens.add(token)
        return web.json_response({"token": token})

    async def _begin(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if request.query.get("mount") in self.blobs and request.query.get("from"):
            return web.Response(status=201)
        number = str(next(self._numbers))
        self.uploads[number] = bytearray()
        return web.Response(status=202, headers={"location": self._location(request, number)})

    def _location(self, request: web.Request, number: str) -> str:
        host = "" if self.location_host is None else f"http://{self.location_host}"
        return f"{host}/v2/{request.match_info['name']}/blobs/uploads/{number}?_state=x"

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        number = request.match_info["id"]
        if request.method == "PATCH" and self.expires_at_patch:
            self.expires_at_patch, self.valid_tokens = False, set()
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if number not in self.uploads:
            return error(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "PATCH" and self.refuses_chunks:
            return error(405, "UNSUPPORTED")
        if request.method == "DELETE":
            del self.uploads[number]
            return web.Response(status=204)
        if request.method in ("PATCH", "PUT") and not await self._take(request, number):
            return web.Response(status=500)
        if request.method == "PUT":
            return self._close(request, number)
        have = len(self.uploads[number])
        status = 202 if request.method == "PATCH" else 204
        headers = {"location": self._location(request, number), "range": f"0-{max(have - 1, 0)}"}
        return web.Response(status=status, headers=headers)

    async def _take(self, request: web.Request, number: str) -> bool:
        taken = 0
        async for chunk in request.content.iter_chunked(64 * 1024):
            self.uploads[number] += chunk
            self.received += len(chunk)
            taken += len(chunk)
            if self.cut_after and taken >= self.cut_after[0]:
                self.cut_after.pop(0)
                if self.forgets_cut:
                    del self.uploads[number]
                assert request.transport is not None
                request.transport.abort()
                return False
        return True

    def _close(self, request: web.Request, number: str) -> web.Response:
        data = bytes(self.uploads.pop(number))
        digest = sha(data)
        if digest != request.query["digest"]:
            return error(400, "DIGEST_INVALID")
        self.blobs[digest] = data
        named = "sha256:" + "0" * 64 if self.lies else digest
        return web.Response(status=201, headers={"docker-content-digest": named})

    async def _blob(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        digest = request.match_info["digest"]
        if digest not in self.blobs:
            return error(404, "BLOB_UNKNOWN")
        return web.Response(body=self.blobs[digest], headers={"docker-content-digest": digest})

    async def _manifest(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        reference = request.match_info["reference"]
        if request.method == "PUT":
            body, kind = await request.read(), request.headers["content-type"]
            self.manifests[reference] = self.manifests[sha(body)] = (kind, body)
            named = "sha256:" + "0" * 64 if self.lies else sha(body)
            return web.Response(status=201, headers={"docker-content-digest": named})
        if reference not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN")
        kind, body = self.manifests[reference]
        headers = {"docker-content-digest": sha(body), "content-type": kind}
        return web.Response(body=body, headers=headers)


def error(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    """A refusal in the specification's envelope."""
    body = {"errors": [{"code": code, "message": code.lower()}]}
    return web.json_response(body, status=status, headers=headers)


def sha(data: bytes) -> str:
    """The digest of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def base_image(plain: bytes, **config: object) -> tuple[bytes, bytes, bytes]:
    """An image with one layer: the layer, the configuration, the manifest."""
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
    """A manifest's words for a blob."""
    return {"mediaType": kind, "size": len(data), "digest": sha(data)}


@asynccontextmanager
async def memory_registry(**misbehaviour: object) -> AsyncIterator[MemoryRegistry]:
    """Serve on loopback until the block ends."""
    registry = MemoryRegistry(**misbehaviour)  # type: ignore[arg-type]
    runner = web.AppRunner(registry.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        host, port = runner.addresses[0][:2]
        registry.address = f"{host}:{port}"
        yield registry
    finally:
        await runner.cleanup()
