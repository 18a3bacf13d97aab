"""A stand-in for a Docker Engine and a registry's store, each with memory enough for exactly-once."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aiohttp
import anyio
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tests.crash.parts import Script, act, named

_DIGEST: Final = re.compile(rb'"digest": ?"([^"]*)"')
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
WORK_SECONDS: Final = 0.02  # of a build and of a push, so that a kill can hit the middle
_REGISTRY: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}


def sha256(data: bytes) -> str:
    """As registries and engines write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Store:
    """The registry behind the sandbox's gate."""

    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)  # by digest, of all repositories
    uploads: dict[str, bytearray] = field(default_factory=dict)  # that have begun

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v2/", self._root)
        app.router.add_get("/v2/{name:.+}/manifests/{reference}", self._get)
        app.router.add_put("/v2/{name:.+}/manifests/{reference}", self._put)
        app.router.add_post("/v2/{name:.+}/blobs/uploads/", self._begin_upload)
        app.router.add_get("/v2/{name:.+}/blobs/uploads/{session}", self._stands)
        app.router.add_patch("/v2/{name:.+}/blobs/uploads/{session}", self._append)
        app.router.add_put("/v2/{name:.+}/blobs/uploads/{session}", self._upload)
        app.router.add_delete("/v2/{name:.+}/blobs/uploads/{session}", self._end_upload)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self._blob)
        return app

    def shelved(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """All that lies here: configurations, layers, manifests."""
        for content in (*self.blobs.values(), *self.manifests.values()):
            yield sha256(content), partial(bytes, content)

    async def _root(self, _request: web.Request) -> web.Response:
        return web.json_response({}, headers=_REGISTRY)

    async def _begin_upload(self, request: web.Request) -> web.Response:
        session = str(len(self.uploads) + 1)
        self.uploads[session] = bytearray()
        headers = {**_REGISTRY, "Location": f"{request.path}{session}"}
        return web.Response(status=202, headers=headers)

    async def _stands(self, request: web.Request) -> web.Response:
        size = len(self.uploads[request.match_info["session"]])
        headers = {**_REGISTRY, "Location": request.path, "Range": f"0-{max(0, size - 1)}"}
        return web.Response(status=204, headers=headers)

    async def _append(self, request: web.Request) -> web.Response:
        async for piece in request.content.iter_any():
            self.uploads[request.match_info["session"]] += piece
        return web.Response(status=202, headers={**_REGISTRY, "Location": request.path})

    async def _upload(self, request: web.Request) -> web.Response:
        blob = bytes(self.uploads[request.match_info["session"]]) + await request.read()
        if sha256(blob) != request.query["digest"]:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        self.blobs[sha256(blob)] = blob
        return web.Response(status=201, headers=_REGISTRY)

    async def _blob(self, request: web.Request) -> web.Response:
        blob = self.blobs.get(request.match_info["digest"])
        return web.Response(status=404) if blob is None else web.Response(body=blob)

    async def _end_upload(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_REGISTRY)

    async def _get(self, request: web.Request) -> web.Response:
        manifest = self.manifests.get(_named(request))
        if manifest is None:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        headers = {**_REGISTRY, "Docker-Content-Digest": sha256(manifest)}
        return web.Response(body=manifest, content_type=MANIFEST, headers=headers)

    async def _put(self, request: web.Request) -> web.Response:
        name, reference = _named(request)
        manifest = await request.read()
        # As it came: it may have been changed on the way.
        if not self.blobs.keys() >= {each.decode() for each in _DIGEST.findall(manifest)}:
            return web.json_response({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}, status=400)
        for each in (reference, sha256(manifest)):
            self.manifests[name, each] = manifest
        headers = {**_REGISTRY, "Docker-Content-Digest": sha256(manifest)}
        return web.Response(status=201, headers=headers)


@dataclass(frozen=True)
class Built:
    """An image: its configuration and its only layer."""

    configuration: bytes
    layer: bytes

    @property
    def id(self) -> str:
        return sha256(self.configuration)


@dataclass
class StandInEngine:
    """Makes an image out of any context, and pushes it to the registry that its name says."""

    session: aiohttp.ClientSession
    script: Script = field(default_factory=Script)
    images: dict[str, Built] = field(default_factory=dict)  # by name:tag
    builds: int = 0
    pushes: int = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20, middlewares=[_begun(self.script)])
        version = r"/{api:v[\d.]+}"
        app.router.add_get(version + "/version", self._version)
        app.router.add_get("/version", self._version)
        app.router.add_post(version + "/build", self._build)
        app.router.add_get(version + "/images/{name:.+}/json", self._inspect)
        app.router.add_get(version + "/images/{name:.+}/history", self._history)
        app.router.add_post(version + "/images/{name:.+}/tag", self._tag)
        app.router.add_post(version + "/images/{name:.+}/push", self._push)
        app.router.add_delete(version + "/images/{name:.+}", self._remove)
        return app

    async def _version(self, _request: web.Request) -> web.Response:
        parts = [{"Name": "Engine"}]
        return web.json_response({"Version": "20.10.24", "ApiVersion": "1.41", "Components": parts})

    async def _build(self, request: web.Request) -> web.StreamResponse:
        self.builds += 1
        try:
            context = await request.read()
        except ConnectionError:
            return web.Response()  # whoever asked was killed
        stream = await _begin(request, {"stream": "Step 1/2 : FROM debian:bookworm-slim\n"})
        await act(self.script.before, "building")
        await anyio.sleep(self.script.pauses.get("build", WORK_SECONDS))
        configuration = {"os": "linux", "rootfs": {"diff_ids": [sha256(context)]}}
        image = Built(json.dumps(configuration).encode(), context)
        self.images[request.query["t"]] = image
        await _say(stream, {"aux": {"ID": image.id}})
        return await _end(stream, {"stream": f"Successfully tagged {request.query['t']}\n"})

    async def _inspect(self, request: web.Request) -> web.Response:
        image = self.images.get(request.match_info["name"])
        if image is None:
            return _no_image()
        found = {"Id": image.id, "Os": "linux", "Architecture": "amd64", "Size": 42}
        return web.json_response(found)

    async def _history(self, request: web.Request) -> web.Response:
        known = request.match_info["name"] in self.images
        return web.json_response([{"CreatedBy": "COPY"}]) if known else _no_image()

    async def _tag(self, request: web.Request) -> web.Response:
        image = self.images.get(request.match_info["name"])
        if image is None:
            return _no_image()
        self.images[f"{request.query['repo']}:{request.query['tag']}"] = image
        return web.Response(status=201)

    async def _push(self, request: web.Request) -> web.StreamResponse:
        self.pushes += 1
        name, tag = request.match_info["name"], request.query["tag"]
        image = self.images.get(f"{name}:{tag}")
        if image is None:
            return _no_image()
        stream = await _begin(request, {"status": f"The push refers to repository [{name}]"})
        await act(self.script.before, "pushing")
        await anyio.sleep(self.script.pauses.get("push", WORK_SECONDS))
        upload = Upload(self.session, name, request.headers["X-Registry-Auth"])
        pushed = await upload.whole(image, tag)
        if isinstance(pushed, str):
            return await _end(stream, {"error": pushed, "errorDetail": {"message": pushed}})
        digest, size = sha256(pushed), len(pushed)
        await _say(stream, {"status": f"{tag}: digest: {digest} size: {size}"})
        return await _end(stream, {"aux": {"Tag": tag, "Digest": digest, "Size": size}})

    async def _remove(self, request: web.Request) -> web.Response:
        known = self.images.pop(request.match_info["name"], None)
        return web.json_response([{"Untagged": known.id}]) if known else _no_image()


@dataclass(frozen=True)
class Upload:
    """One image on its way to a registry."""

    session: aiohttp.ClientSession
    name: str  # registry/repository
    login: str  # X-Registry-Auth

    async def whole(self, image: Built, tag: str) -> bytes | str:
        """The manifest that the registry has then, or the engine's words for why it has none."""
        parts = (image.configuration, image.layer)
        digests = [{"digest": sha256(part), "size": len(part)} for part in parts]
        manifest = json.dumps({"schemaVersion": 2, "config": digests[0], "layers": digests[1:]})
        try:
            for part in parts:
                await self._blob(part)
            await self._call("PUT", f"manifests/{tag}", manifest.encode())
        except aiohttp.ClientResponseError as error:
            if error.status == 401:
                return "unauthorized: authentication required"
            return f"received unexpected HTTP status: {error.status}"
        except aiohttp.ClientConnectorError as error:
            return f'Get "http://{self.name}": dial tcp: connect: {error.strerror}'
        except (aiohttp.ClientError, OSError):
            return f'Put "http://{self.name}": EOF'
        return manifest.encode()

    async def _blob(self, blob: bytes) -> None:
        digest = sha256(blob)
        try:
            await self._call("HEAD", f"blobs/{digest}")
        except aiohttp.ClientResponseError as error:
            if error.status != 404:
                raise
            session = (await self._call("POST", "blobs/uploads/")).rpartition("/")[2]
            await self._call("PUT", f"blobs/uploads/{session}?digest={digest}", blob)

    async def _call(self, method: str, path: str, body: bytes | None = None) -> str:
        registry, _, repository = self.name.partition("/")
        known = json.loads(base64.urlsafe_b64decode(self.login))
        basic = base64.b64encode(f"{known['username']}:{known['password']}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": MANIFEST}
        url = f"http://{registry}/v2/{repository}/{path}"
        # aiohttp warns of large bytes, and a warning is an error here.
        data = None if body is None else io.BytesIO(body)
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            answer.raise_for_status()
            return answer.headers.get("Location", "")


def _begun(script: Script) -> Middleware:
    """Play what comes before a call; the middle is the engine's own."""

    @web.middleware
    async def begin(request: web.Request, handler: Handler) -> web.StreamResponse:
        await act(script.before, named(request))
        return await handler(request)

    return begin


def _named(request: web.Request) -> tuple[str, str]:
    return request.match_info["name"], request.match_info["reference"]


def _no_image() -> web.Response:
    return web.json_response({"message": "No such image"}, status=404)


async def _begin(request: web.Request, first: Mapping[str, Any]) -> web.StreamResponse:
    stream = web.StreamResponse()
    stream.content_type = "application/json"
    await stream.prepare(request)
    await _say(stream, first)
    return stream


async def _say(stream: web.StreamResponse, line: Mapping[str, Any]) -> None:
    try:
        await stream.write(json.dumps(line).encode() + b"\r\n")
    except ConnectionError:
        return  # whoever asked was killed


async def _end(stream: web.StreamResponse, last: Mapping[str, Any]) -> web.StreamResponse:
    await _say(stream, last)
    return stream
