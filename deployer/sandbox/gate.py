"""The registry's public door: checks logins, counts, and breaks things on demand."""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from deployer.sandbox.faults import Faults
from deployer.sandbox.logins import Grant, Logins, Verdict
from deployer.sandbox.loopback import Door, hang_up
from deployer.sandbox.traffic import Traffic

RESET_AFTER: Final = 65_536  # bytes of an upload
_CHUNK: Final = 65_536
_NAMED: Final = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.*)")
_OF_ONE_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
)
_API: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}
_WRITES: Final = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class Gate:
    """A streaming proxy before the registry at `upstream` (`host:port`)."""

    upstream: str
    session: aiohttp.ClientSession  # must not decompress
    logins: Logins
    faults: Faults
    traffic: Traffic
    foreign_realm: str  # a URL at another host name

    def app(self) -> web.Application:
        """The gate as an application."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        answer = self._refusal(request) or await self._pass_on(request)
        self.traffic.note("registry", request.method, request.path, answer.status)
        return answer

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.faults.is_on("registry-down"):
            return hang_up(request)
        verdict, grant = self._judge(request)
        if verdict is not Verdict.GOOD:
            return self._challenge(verdict)
        if not _within(grant, request):
            return _error(403, "DENIED", "requested access to the resource is denied")
        if grant.repository is None:
            return None  # the machine's own pulls are not what the faults are about
        return self._fault(request)

    def _judge(self, request: web.Request) -> tuple[Verdict, Grant]:
        user, password = _basic(request.headers.get("Authorization", ""))
        return self.logins.judge(user, password)

    def _challenge(self, verdict: Verdict) -> web.Response:
        realm = 'Basic realm="sandbox"'
        if self.faults.strikes("registry-foreign-realm"):
            realm = f'Bearer realm="{self.foreign_realm}",service="registry"'
        message = "token expired" if verdict is Verdict.EXPIRED else "authentication required"
        return _error(401, "UNAUTHORIZED", message, {"WWW-Authenticate": realm})

    def _fault(self, request: web.Request) -> web.Response | None:
        uploads = request.method in _WRITES
        if uploads and "/blobs/uploads" in request.path:
            if self.faults.strikes("push-401"):
                return self._challenge(Verdict.UNKNOWN)
            if self.faults.strikes("push-503"):
                return _error(503, "UNAVAILABLE", "service unavailable")
        if uploads and "/manifests/" in request.path and self.faults.strikes("manifest-500"):
            return _error(500, "UNKNOWN", "unknown error")
        return None

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        try:
            async with self.session.request(
                request.method,
                # As it came: quoting anew could change what a registry signed into it.
                URL(f"http://{self.upstream}{_without_foreign_mount(request)}", encoded=True),
                headers=_forwarded(request.headers, drop={"authorization", "expect"}),
                data=self._body(request) if request.body_exists else None,
                allow_redirects=False,
            ) as answer:
                return await _relay(request, answer)
        except aiohttp.ClientError as error:
            return _error(502, "UNKNOWN", f"the registry behind the gate: {type(error).__name__}")

    async def _body(self, request: web.Request) -> AsyncIterator[bytes]:
        sent = 0
        async for chunk in request.content.iter_chunked(_CHUNK):
            sent += len(chunk)
            self.traffic.uploaded += len(chunk)
            yield chunk
            if sent >= RESET_AFTER and self.faults.strikes("push-reset"):
                hang_up(request, reset=True)
                raise ConnectionResetError  # ends the upstream request as well

    async def follow_faults(self, door: Door) -> None:
        """Close and open the door as `registry-down` says; runs until it is cancelled."""
        while True:
            if self.faults.is_on("registry-down"):
                await door.close()
            else:
                await door.open()
            await self.faults.changed()


def _basic(header: str) -> tuple[str, str]:
    """User and password of an Authorization header; both empty if it holds none."""
    kind, _, encoded = header.partition(" ")
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (user, password) if kind.lower() == "basic" else ("", "")


def _within(grant: Grant, request: web.Request) -> bool:
    named = _NAMED.fullmatch(request.path)
    if named is None or ".." in request.path.split("/"):
        return request.path in ("/v2", "/v2/")
    if not grant.covers(named["repository"]):
        return False
    puts_manifest = named["kind"] == "manifests" and request.method == "PUT"
    return not puts_manifest or grant.may_write(named["rest"])


def _without_foreign_mount(request: web.Request) -> str:
    # A login is for one repository: mounting a layer out of another would read from it.
    if "mount" in request.query:
        return request.rel_url.without_query_params("mount", "from").raw_path_qs
    return request.raw_path


def _forwarded(headers: Mapping[str, str], drop: frozenset[str] | set[str]) -> dict[str, str]:
    gone = _OF_ONE_HOP | drop
    return {name: value for name, value in headers.items() if name.lower() not in gone}


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = _forwarded(answer.headers, drop=set())
    relayed = web.StreamResponse(status=answer.status, headers=headers)
    await relayed.prepare(request)
    if request.method != "HEAD":
        async for chunk in answer.content.iter_chunked(_CHUNK):
            await relayed.write(chunk)
    await relayed.write_eof()
    return relayed


def _error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    # Real registries send a detail. Without one the engine takes a refusal for a hiccup and
    # retries it for 50 s (measured with 20.10).
    body = {"errors": [{"code": code, "message": message, "detail": [{"Class": ""}]}]}
    return web.json_response(body, status=status, headers={**_API, **(headers or {})})
