"""A stand-in for a Docker Engine and a registry's store, each with memory enough for exactly-once."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import anyio
from aiohttp import web

MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
WORK_SECONDS: Final = 0.02  # of a build and of a push, so that a kill can hit the middle
_REGISTRY: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}


def sha256(data: bytes) -> str:
    """As registries and engines write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Store:
    """The registry behind the sandbox's gate: manifests only."""

    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2/", self._root)
        app.router.add_get("/v2/{name:.+}/manifests/{reference}", self._get)
        app.router.add_put("/v2/{name:.+}/manifests/{reference}", self._put)
        app.router.add_post("/v2/{name:.+}/blobs/uploads/", self._begin_upload)
        app.router.add_delete("/v2/{name:.+}/blobs/uploads/{session}", self._end_upload)
        return app

    async def _root(self, _request: web.Request) -> web.Response:
        return web.json_response({}, headers=_REGISTRY)

    async def _begin_upload(self, request: web.Request) -> web.Response:
        headers = {**_REGISTRY, "Location": f"{request.path}1"}
        return web.Response(status=202, headers=headers)

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
        for each in (reference, sha256(manifest)):
            self.manifests[name, each] = manifest
        headers = {**_REGISTRY, "Docker-Content-Digest": sha256(manifest)}
        return web.Response(status=201, headers=headers)


@dataclass
class StandInEngine:
    """Builds an image out of any context, and pushes it to the registry that its name says."""

    session: aiohttp.ClientSession
    pauses: Mapping[str, float] = field(default_factory=dict)  # seconds, of `build` and `push`
    images: dict[str, str] = field(default_factory=dict)  # name:tag -> id
    builds: int = 0
    pushes: int = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
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
            image = sha256(await request.read())
        except ConnectionError:
            return web.Response()  # whoever asked was killed
        stream = await _begin(request, {"stream": "Step 1/2 : FROM debian:bookworm-slim\n"})
        await anyio.sleep(self.pauses.get("build", WORK_SECONDS))
        self.images[request.query["t"]] = image
        await _say(stream, {"aux": {"ID": image}})
        return await _end(stream, {"stream": f"Successfully tagged {request.query['t']}\n"})

    async def _inspect(self, request: web.Request) -> web.Response:
        image = self.images.get(request.match_info["name"])
        if image is None:
            return _no_image()
        found = {"Id": image, "Os": "linux", "Architecture": "amd64", "Size": 42}
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
        await anyio.sleep(self.pauses.get("push", WORK_SECONDS))
        manifest = json.dumps({"schemaVersion": 2, "config": {"digest": image}}).encode()
        refused = await self._put(name, tag, manifest, request.headers["X-Registry-Auth"])
        if refused:
            return await _end(stream, {"error": refused, "errorDetail": {"message": refused}})
        digest, size = sha256(manifest), len(manifest)
        await _say(stream, {"status": f"{tag}: digest: {digest} size: {size}"})
        return await _end(stream, {"aux": {"Tag": tag, "Digest": digest, "Size": size}})

    async def _put(self, name: str, tag: str, manifest: bytes, login: str) -> str | None:
        registry, _, repository = name.partition("/")
        known = json.loads(base64.urlsafe_b64decode(login))
        basic = base64.b64encode(f"{known['username']}:{known['password']}".encode()).decode()
        url = f"http://{registry}/v2/{repository}/manifests/{tag}"
        headers = {"Authorization": f"Basic {basic}", "Content-Type": MANIFEST}
        async with self.session.put(url, data=manifest, headers=headers) as answer:
            return None if answer.ok else f"received unexpected HTTP status: {answer.status}"

    async def _remove(self, request: web.Request) -> web.Response:
        known = self.images.pop(request.match_info["name"], None)
        return web.json_response([{"Untagged": known}]) if known else _no_image()


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
