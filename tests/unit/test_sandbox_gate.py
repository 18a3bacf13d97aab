"""The gate before a small registry, both on loopback."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO

import aiohttp
import anyio
import pytest
from aiohttp import web
from yarl import URL

from deployer.sandbox.faults import Faults
from deployer.sandbox.gate import RESET_AFTER, Gate
from deployer.sandbox.logins import Logins
from deployer.sandbox.loopback import Door, served
from deployer.sandbox.traffic import Traffic

pytestmark = pytest.mark.anyio


def basic(password: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth("x", password)}


@dataclass
class Upstream:
    """Says what it was asked for, and hashes what it was sent."""

    seen: list[str] = field(default_factory=list)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(f"{request.method} {request.raw_path}")
        body = await request.read()
        headers = {
            "Docker-Content-Digest": f"sha256:{hashlib.sha256(body).hexdigest()}",
            "Location": f"/v2/relative{request.path}",
            "X-Authorization": str("Authorization" in request.headers),
        }
        return web.Response(status=202, headers=headers, body=b"" if body else b"x" * 100_000)


@dataclass
class Case:
    gate: Gate
    door: Door
    upstream: Upstream
    client: aiohttp.ClientSession

    def url(self, path: str) -> URL:
        return URL(f"http://127.0.0.1:{self.door.port}{path}", encoded=True)

    def login(self, repository: str = "sp-a", tag: str | None = None) -> dict[str, str]:
        return basic(self.gate.logins.mint(repository, tag))


@asynccontextmanager
async def a_gate(on: dict[str, int | None] | None = None) -> AsyncIterator[Case]:
    faults, upstream = Faults(on or {}), Upstream()
    async with (
        served(upstream.app(), 0) as registry,
        aiohttp.ClientSession(auto_decompress=False) as session,
        aiohttp.ClientSession() as client,
    ):
        address = f"127.0.0.1:{registry.port}"
        realm = "http://localhost:1/token"
        gate = Gate(address, session, Logins(faults, 60), faults, Traffic(), realm)
        async with served(gate.app(), 0) as door:
            yield Case(gate, door, upstream, client)


async def test_a_request_without_a_login_is_challenged_as_a_registry_does() -> None:
    async with a_gate() as case, case.client.get(case.url("/v2/")) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="sandbox"'
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert (await answer.json())["errors"][0]["code"] == "UNAUTHORIZED"
        assert case.upstream.seen == []


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Bearer x", "Basic eA==", "\xff"])
async def test_a_garbled_login_is_a_refusal_not_a_crash(header: str) -> None:
    async with a_gate() as case:
        headers = {"Authorization": header}
        async with case.client.get(case.url("/v2/"), headers=headers) as answer:
            assert answer.status == 401


async def test_a_body_passes_both_ways_unchanged_and_is_counted() -> None:
    body = b"layer" * 100_000
    async with a_gate() as case:
        url = case.url("/v2/sp-a/blobs/uploads/1?_state=a%2Fb")
        async with case.client.patch(url, data=BytesIO(body), headers=case.login()) as answer:
            digest = answer.headers["Docker-Content-Digest"]
        async with case.client.get(case.url("/v2/sp-a/blobs/b"), headers=case.login()) as answer:
            assert await answer.read() == b"x" * 100_000

        assert digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
        assert case.upstream.seen[0] == "PATCH /v2/sp-a/blobs/uploads/1?_state=a%2Fb"
        assert case.gate.traffic.uploaded == len(body)


async def test_the_registry_never_sees_the_login() -> None:
    async with (
        a_gate() as case,
        case.client.get(case.url("/v2/"), headers=case.login()) as answer,
    ):
        assert answer.headers["X-Authorization"] == "False"


async def test_a_login_opens_no_other_repository() -> None:
    async with a_gate() as case:
        url = case.url("/v2/sp-b/manifests/latest")
        async with case.client.get(url, headers=case.login("sp-a")) as answer:
            assert answer.status == 403
            assert (await answer.json())["errors"][0]["code"] == "DENIED"
        assert case.upstream.seen == []


@pytest.mark.parametrize(
    "path", ["/v2/_catalog", "/", "/debug/vars", "/v2/sp-a/tags/..%2f..%2fsp-b/list"]
)
async def test_a_login_opens_nothing_outside_its_repository(path: str) -> None:
    async with a_gate() as case:
        async with case.client.get(case.url(path), headers=case.login("sp-a")) as answer:
            assert answer.status == 403
        assert case.upstream.seen == []


async def test_a_layer_of_another_repository_is_not_mounted() -> None:
    async with a_gate() as case:
        url = case.url("/v2/sp-a/blobs/uploads/?mount=sha256:00&from=sp-b")
        async with case.client.post(url, headers=case.login()) as answer:
            assert answer.status == 202
        assert case.upstream.seen == ["POST /v2/sp-a/blobs/uploads/"]


async def test_a_server_tag_login_writes_its_own_tag_only() -> None:
    async with a_gate() as case:
        login = case.login("images", "tenant-a")
        for tag, status in (("tenant-a", 202), ("tenant-b", 403)):
            url = case.url(f"/v2/images/manifests/{tag}")
            async with case.client.put(url, data=b"{}", headers=login) as answer:
                assert answer.status == status


@pytest.mark.parametrize(
    ("fault", "method", "path", "status"),
    [
        ("push-401", "POST", "/v2/sp-a/blobs/uploads/", 401),
        ("push-503", "PATCH", "/v2/sp-a/blobs/uploads/1", 503),
        ("manifest-500", "PUT", "/v2/sp-a/manifests/t", 500),
    ],
)
async def test_a_push_fault_strikes_its_request_and_no_other(
    fault: str, method: str, path: str, status: int
) -> None:
    async with a_gate({fault: 1}) as case:
        login = case.login()
        async with case.client.get(case.url("/v2/sp-a/blobs/b"), headers=login) as answer:
            assert answer.status == 202
        for expected in (status, 202):
            async with case.client.request(
                method, case.url(path), data=b"{}", headers=login
            ) as answer:
                assert answer.status == expected


async def test_the_machines_pulls_are_spared() -> None:
    async with a_gate({"push-401": None, "manifest-500": None}) as case:
        machine = basic(case.gate.logins.machine)
        async with case.client.get(case.url("/v2/any/manifests/t"), headers=machine) as answer:
            assert answer.status == 202


async def test_push_reset_cuts_the_upload_in_its_middle() -> None:
    async with a_gate({"push-reset": 1}) as case:
        url, login = case.url("/v2/sp-a/blobs/uploads/1"), case.login()
        body = b"0" * (RESET_AFTER * 40)

        with pytest.raises(aiohttp.ClientError):
            await case.client.patch(url, data=BytesIO(body), headers=login)

        assert RESET_AFTER <= case.gate.traffic.uploaded < len(body)
        async with case.client.patch(url, data=BytesIO(body), headers=login) as answer:
            assert answer.status == 202


async def test_a_foreign_realm_names_another_host() -> None:
    faults: dict[str, int | None] = {"registry-foreign-realm": None}
    async with a_gate(faults) as case, case.client.get(case.url("/v2/")) as answer:
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="http://localhost:')


async def test_a_registry_that_is_down_refuses_connections_and_comes_back() -> None:
    async with a_gate() as case, anyio.create_task_group() as tasks:
        tasks.start_soon(case.gate.follow_faults, case.door)
        case.gate.faults.switch_on("registry-down")
        await anyio.wait_all_tasks_blocked()

        with pytest.raises(aiohttp.ClientConnectorError):
            await case.client.get(case.url("/v2/"))

        case.gate.faults.switch_off("registry-down")
        await anyio.wait_all_tasks_blocked()
        async with case.client.get(case.url("/v2/"), headers=case.login()) as answer:
            assert answer.status == 202
        tasks.cancel_scope.cancel()


async def test_a_registry_that_is_gone_behind_the_gate_is_a_502() -> None:
    async with a_gate() as case:
        gone = Gate(
            "127.0.0.1:1", case.gate.session, case.gate.logins, Faults({}), Traffic(), "http://l"
        )
        async with served(gone.app(), 0) as door:
            url = f"http://127.0.0.1:{door.port}/v2/"
            async with case.client.get(url, headers=case.login()) as answer:
                assert answer.status == 502
