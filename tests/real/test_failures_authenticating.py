"""Every way in which the Management API refuses a login or a deploy, over real connections."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer import planning
from deployer.adapters.http.client import Http
from deployer.adapters.http.url import ApiUrl, parse_api_url
from deployer.adapters.management.api import Management
from deployer.model import Login, Revision, Secret
from deployer.run import DeployRequest
from deployer.states.authenticating import target_of
from tests.servers.asked import error
from tests.servers.asked import management as api
from tests.servers.raw_http import (
    Drip,
    Flood,
    Pause,
    Request,
    Reset,
    Respond,
    Step,
    answer,
    server_tls,
)

pytestmark = [pytest.mark.real, pytest.mark.anyio]

Provoked = Callable[[str, object], None]
DEADLINE = 0.3
IMAGE = "registry.fly.io/sp-1:deploy-1700000000-a1b2c3d"
LOGIN = {"registry": "registry.fly.io", "username": "x", "password": "some-password"}
PORTAL = answer(200, b"<html>Please sign in</html>", content_type="text/html")
DEPLOYED = answer(200, {"status": "deployed", "url": "https://t1.example"})


def named(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(
    ("failure_id", "step"),
    [
        ("A01", error(401, "unauthorized")),
        ("A02", error(403, "forbidden")),
        ("A03", error(404, "tenant_not_found")),
        ("A04", error(429, "rate_limited", retry_after="7")),
        ("A05", error(503, "service_unavailable")),
        ("A05", answer(504, b"<html>", content_type="text/html")),
        ("A05", Reset()),
        ("A08", PORTAL),
        ("A08", answer(302, location="https://elsewhere.example")),
        ("A08", answer(200, {"data": {"registry": "registry.fly.io"}})),
        ("A08", Flood(2_000_000)),
        ("A09", answer(200, {**LOGIN, "registry": "registry.evil.example"})),
        ("A09", answer(200, {**LOGIN, "password": ""})),
        ("A09", answer(200, {**LOGIN, "repository": "x/../../containers/prune?a="})),
        ("A11", error(400, "no_infrastructure")),
        ("A00", error(418, "teapot")),
    ],
    ids=named,
)
async def test_a_login_is_refused_as_the_catalogue_says(
    provoked: Provoked, failure_id: str, step: Step
) -> None:
    async with api(step) as (management, _):
        found = await management.registry_login("t1")

    # A flood is not read to its end: what remains is a success without a body.
    provoked(failure_id if not isinstance(step, Flood) else "A05", found)


async def test_nobody_listens(provoked: Provoked) -> None:
    async with Http() as http:
        nobody = Management(http, api_url=ApiUrl("http://127.0.0.1:1"), token=Secret("token"))

        provoked("A06", await nobody.registry_login("t1"))
        provoked("D01", await nobody.deploy("t1", IMAGE, "key"))


async def test_a_certificate_that_nobody_vouches_for(provoked: Provoked) -> None:
    async with api(answer(200, LOGIN), tls=server_tls()) as (management, server):
        provoked("A07", await management.registry_login("t1"))
    assert server.requests == []


async def test_a_name_that_does_not_resolve(provoked: Provoked) -> None:
    async with Http() as http:
        url = ApiUrl("https://no-such-host.invalid")

        provoked("A06", await Management(http, api_url=url, token=Secret("t")).registry_login("t1"))


@pytest.mark.parametrize(
    "url", ["http://api.example", "https://user:pw@api.example", "ftp://x", "https://x/?a=b"]
)
async def test_a_url_that_must_not_be_used(url: str, provoked: Provoked) -> None:
    provoked("A10", parse_api_url(url))


async def test_a_tag_that_the_server_does_not_take(provoked: Provoked) -> None:
    async with api(answer(200, {"data": {**LOGIN, "repository": "r", "tag": "tenant-t1"}})) as (
        management,
        _,
    ):
        login = await management.registry_login("t1")
    assert isinstance(login, Login)
    request = DeployRequest(tenant="t1", project_root=Path("/"), tag="v1.0.0")
    plan = planning.planned(request, Revision(short_sha="a" * 7, dirty=False, fingerprint=""), 0)

    provoked("D18", target_of(plan, login))


# -- POST deploy


def with_tenant(step: Step) -> Respond:
    """Answers the POST with `step`, and says that the tenant exists."""

    def respond(request: Request) -> list[Step]:
        return [step if request.method == "POST" else answer(200, {"status": "running"})]

    return respond


def no_tenant(request: Request) -> list[Step]:
    return [answer(404, {"error": {"code": "not_found", "message": request.path}})]


@pytest.mark.parametrize(
    ("failure_id", "respond"),
    [
        ("D02", error(401, "unauthorized")),
        ("D02b", error(403, "forbidden")),
        ("D03", error(404, "tenant_not_found")),
        ("D03", no_tenant),
        ("D04", error(404, "image_not_found")),
        ("D04", error(422, "image_not_found")),
        ("D04", with_tenant(error(404, "not_found"))),
        ("D05", error(409, "deploy_in_progress")),
        ("D05b", error(409, "idempotency_in_progress", retry_after="1")),
        ("D06", error(422, "idempotency_mismatch")),
        ("D06", error(400, "bad_request")),
        ("D07", error(429, "rate_limited")),
        ("D08", error(500, "machine_update_failed")),
        ("D08", error(200, "machine_update_failed")),
        ("D08", answer(200, {"status": "failed", "message": "no memory"})),
        ("D09", answer(502, b"<html>Bad Gateway</html>", content_type="text/html")),
        ("D09", error(500, "internal")),
        ("D09", error(408, "timeout")),
        ("D10", Reset()),
        ("D10", b""),
        ("D10", Pause(math.inf)),
        ("D10", DEPLOYED[:-5]),
        ("D11", answer(200, b'{"status": "depl')),
        ("D11", answer(204)),
        ("D11", PORTAL),
        ("D12", answer(307, location="https://evil.example")),
        ("D12", answer(302, location="https://evil.example")),
    ],
    ids=named,
)
async def test_a_deploy_fails_as_the_catalogue_says(
    provoked: Provoked, seen: Callable[[str], None], failure_id: str, respond: Respond | Step
) -> None:
    async with api(respond, deploy_deadline=DEADLINE) as (management, server):
        found = await management.deploy("t1", IMAGE, "key")

    provoked(failure_id, found)
    assert sum(request.method == "POST" for request in server.requests) == 1
    if failure_id == "D05":
        seen("T04")


@pytest.mark.parametrize(
    ("behaviour", "reported", "step"),
    [
        ("D13", "D10", Drip(DEPLOYED, 0.05)),
        ("D14", "D11", answer(200, b" " * 1_100_000)),
    ],
    ids=named,
)
async def test_an_answer_without_end_is_not_read_without_end(
    provoked: Provoked, seen: Callable[[str], None], behaviour: str, reported: str, step: Step
) -> None:
    async with api(step, deploy_deadline=DEADLINE) as (management, _):
        provoked(reported, await management.deploy("t1", IMAGE, "key"))
    seen(behaviour)
