"""The Management API: both generations, every refusal, every broken answer."""

import gzip
import json
import math
import random

import httpx
import pytest

from deployer.adapters.http.answer import Answer
from deployer.adapters.http.client import Http
from deployer.adapters.http.url import ApiUrl
from deployer.adapters.management.answers import read_login
from deployer.adapters.management.api import Management
from deployer.failures import Failure, Kind
from deployer.model import Deployment, Login, Secret, TenantStatus
from deployer.states.flow import State
from tests.servers.asked import error
from tests.servers.asked import management as api
from tests.servers.raw_http import (
    Drip,
    Flood,
    Pause,
    Request,
    Reset,
    Step,
    answer,
    server_tls,
)

pytestmark = pytest.mark.anyio

IMAGE = "registry.fly.io/sp-1:deploy-1700000000-a1b2c3d"
LOGIN = {"registry": "registry.fly.io", "username": "x", "password": "REGSECRET"}
HTML = answer(502, b"<html>Bad Gateway</html>", content_type="text/html")


# -- registry-token


async def ask_login(step: Step, *, hosts: frozenset[str] = frozenset()) -> object:
    async with api(step, hosts=hosts) as (management, _):
        return await management.registry_login("t1")


@pytest.mark.parametrize("enveloped", [True, False])
@pytest.mark.parametrize("field", ["password", "token"])
async def test_both_generations_give_a_login(enveloped: bool, field: str) -> None:
    body: dict[str, object] = {"registry": "registry.fly.io", "username": "x", field: "REGSECRET"}
    login = await ask_login(answer(200, {"data": body} if enveloped else body))

    assert isinstance(login, Login)
    assert login.password.reveal() == "REGSECRET"
    assert (login.registry, login.username) == ("registry.fly.io", "x")
    assert (login.repository, login.tag, login.capabilities) == (None, None, frozenset())
    assert "REGSECRET" not in repr(login)


async def test_the_newest_generation_names_repository_tag_and_capabilities() -> None:
    extras = {"repository": "systemprompt-images", "tag": "tenant-t1"}
    body = {**LOGIN, **extras, "capabilities": ["idempotency", 7], "unknown": {"a": 1}}
    login = await ask_login(answer(200, {"data": body, "meta": {"request_id": "r"}}))

    assert isinstance(login, Login)
    assert (login.repository, login.tag) == ("systemprompt-images", "tenant-t1")
    assert login.capabilities == {"idempotency"}


async def test_an_empty_repository_or_tag_is_none() -> None:
    login = await ask_login(answer(200, {**LOGIN, "repository": "", "tag": ""}))

    assert isinstance(login, Login)
    assert (login.repository, login.tag) == (None, None)


async def test_the_login_is_asked_for_with_the_bearer_token() -> None:
    async with api(answer(200, {"data": LOGIN})) as (management, server):
        await management.registry_login("t1")

    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/api/v1/tenants/t1/registry-token")
    assert request.headers["authorization"] == "Bearer API"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (error(401, "unauthorized"), Kind.API_LOGIN_REFUSED),
        (error(403, "forbidden"), Kind.TENANT_FORBIDDEN),
        (error(404, "tenant_not_found"), Kind.TENANT_UNKNOWN),
        (answer(404), Kind.TENANT_UNKNOWN),
        (answer(404, b"<html>", content_type="text/html"), Kind.NOT_THE_API),
        (error(429, "rate_limited"), Kind.API_RATE_LIMIT),
        (error(400, "no_infrastructure"), Kind.TENANT_NOT_READY),
        (error(400, "bad_request", "Tenant has no infrastructure yet"), Kind.TENANT_NOT_READY),
        (error(400, "bad_request"), Kind.API_REFUSED),
        (error(418, "teapot"), Kind.API_REFUSED),
        (error(408, "timeout"), Kind.API_UNAVAILABLE),
        (error(500, "oops"), Kind.API_UNAVAILABLE),
        (HTML, Kind.API_UNAVAILABLE),
        (error(503, "registry_disabled"), Kind.API_UNAVAILABLE),
        (answer(302, location="https://evil.example"), Kind.NOT_THE_API),
        (answer(200, b"<html>portal</html>", content_type="text/html"), Kind.NOT_THE_API),
        (answer(204), Kind.NOT_THE_API),
        (answer(200, {"data": None}), Kind.NOT_THE_API),
        (answer(200, []), Kind.NOT_THE_API),
        (answer(200, {"data": {**LOGIN, "password": 7}}), Kind.NOT_THE_API),
        (answer(200, {"data": {"username": "x", "password": "p"}}), Kind.NOT_THE_API),
        (answer(200, b"[" * 100_000), Kind.NOT_THE_API),
        (answer(200, b" " * 1_048_577), Kind.NOT_THE_API),
        (answer(200, gzip.compress(b" " * 50_000_000), content_encoding="gzip"), Kind.NOT_THE_API),
        (answer(200, LOGIN)[:-1], Kind.API_UNAVAILABLE),
        (Reset(), Kind.API_UNAVAILABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_what_is_no_login_is_its_own_failure(step: Step, kind: Kind) -> None:
    failure = await ask_login(step)

    assert isinstance(failure, Failure)
    assert (failure.phase, failure.kind) == (State.AUTHENTICATING, kind)
    assert failure.cause.isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"password": ""},
        {"password": None, "token": None},
        {"username": ""},
        {"username": "a:b"},
        {"registry": "evil.example"},
        {"registry": "registry.fly.io.evil.example"},
        {"registry": "registry.fly.io:5000"},
        {"registry": "https://registry.fly.io"},
        {"registry": "registry.fly.io/../x"},
        {"registry": "registry.fly.io@evil.example"},
        {"registry": "REGISTRY.fly.io"},
        {"registry": "127.0.0.1:99999"},
        {"registry": ""},
        {"repository": "../../containers/prune?a="},
        {"repository": "a/../b"},
        {"repository": "a" * 256},
        {"repository": "Sp-1"},
        {"tag": "a/b"},
        {"tag": "-x"},
        {"tag": "a" * 129},
        {"tag": "x\n"},
    ],
    ids=str,
)
async def test_a_login_that_the_engine_must_not_get_is_unusable(change: dict[str, object]) -> None:
    failure = await ask_login(answer(200, {"data": {**LOGIN, **change}}))

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.LOGIN_UNUSABLE
    assert "REGSECRET" not in failure.cause


async def test_a_registry_host_that_was_configured_is_used() -> None:
    body = {**LOGIN, "registry": "registry.example.com:5000"}
    login = await ask_login(answer(200, body), hosts=frozenset({"registry.example.com:5000"}))

    assert isinstance(login, Login)


@pytest.mark.parametrize("registry", ["127.0.0.1:5000", "localhost:5000", "[::1]:5000"])
async def test_a_local_api_may_name_a_local_registry(registry: str) -> None:
    assert isinstance(await ask_login(answer(200, {**LOGIN, "registry": registry})), Login)


async def test_a_distant_api_may_not_name_a_local_registry() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        body = json.dumps({**LOGIN, "registry": "127.0.0.1:5000"}).encode()
        return httpx.Response(200, stream=httpx.ByteStream(body))

    async with Http(transport=httpx.MockTransport(reply)) as http:
        url = ApiUrl("https://api.systemprompt.io")
        failure = await Management(http, api_url=url, token=Secret("t")).registry_login("t1")

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.LOGIN_UNUSABLE


async def test_a_failure_keeps_the_servers_words_and_the_request_id() -> None:
    body = {
        "error": {"code": "rate_limited", "message": "slow \x1b]0;pwned\x07down\n"},
        "meta": {"request_id": "req-1"},
    }
    failure = await ask_login(answer(429, body, retry_after="7"))

    assert failure == Failure(
        phase=State.AUTHENTICATING,
        kind=Kind.API_RATE_LIMIT,
        cause="rate_limited: slow down",
        retry_after=7.0,
        http_status=429,
        request_id="req-1",
    )


async def test_a_failure_without_an_envelope_shows_status_and_body() -> None:
    failure = await ask_login(answer(503, b"<h1>upstream\n down</h1>" + b"x" * 10_000))

    assert isinstance(failure, Failure)
    assert failure.cause.startswith("HTTP 503: <h1>upstream down</h1>xx")
    assert len(failure.cause) <= 500


async def test_the_servers_words_are_not_cut_where_no_mark_shows_it() -> None:
    failure = await ask_login(answer(503, ("\u200b" * 660 + "it is s3cret-and-long").encode()))

    assert isinstance(failure, Failure)
    assert failure.cause == "HTTP 503: it is s3cret-and-long"


async def test_a_token_with_a_line_break_is_a_refused_login() -> None:
    async with api(answer(200, LOGIN), token="API\n") as (management, server):
        failure = await management.registry_login("t1")

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.API_LOGIN_REFUSED
    assert "API" not in failure.cause
    assert server.connections == 0


async def test_an_api_that_is_down_is_unreachable() -> None:
    async with api(b"") as (_, server):
        url = ApiUrl(server.url)
    async with Http() as http:
        failure = await Management(http, api_url=url, token=Secret("t")).registry_login("t1")

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.API_UNREACHABLE


async def test_a_bad_certificate_is_a_failure_of_its_own() -> None:
    async with api(answer(200, LOGIN), tls=server_tls()) as (management, server):
        login = await management.registry_login("t1")
        deploy = await management.deploy("t1", IMAGE, "k1")

    assert isinstance(login, Failure)
    assert isinstance(deploy, Failure)
    assert (login.kind, deploy.kind) == (Kind.API_TLS, Kind.NOT_SENT)
    assert server.requests == []


def hostile_names() -> list[str]:
    chance = random.Random(1)
    alphabet = "ab1_-./\\%?#@:;&= \t\r\n\x00\x1b\u202eé"
    names = ["", "..", "-a", "a" * 300, "a/../b", "a\n", "x/../../containers/prune?a=", "../info#"]
    while len(names) < 1000:
        name = "".join(chance.choices(alphabet, k=chance.randint(1, 30)))
        if set(name) & set("\\%?#@:;&= \t\r\n\x00\x1b\u202eé"):
            names.append(name)
    return names


async def test_hostile_tenants_never_reach_the_wire() -> None:
    async with api(answer(200, LOGIN)) as (management, server):
        for tenant in hostile_names():
            login = await management.registry_login(tenant)
            deploy = await management.deploy(tenant, IMAGE, "k1")
            status = await management.status(tenant)
            assert isinstance(login, Failure)
            assert isinstance(deploy, Failure)
            assert isinstance(status, Failure)

    assert server.connections == 0


@pytest.mark.parametrize("part", ["registry", "repository", "tag"])
def test_hostile_names_in_a_login_never_reach_the_engine(part: str) -> None:
    for name in hostile_names()[1:]:  # an empty repository or tag counts as none
        body = json.dumps({**LOGIN, part: name}).encode()
        failure = read_login(Answer(200, {}, body), {name}, loopback=True)

        assert isinstance(failure, Failure), name
        assert failure.kind is Kind.LOGIN_UNUSABLE


# -- deploy


@pytest.mark.parametrize(
    ("told", "lacks"),
    [
        (answer(404, {"error": {"code": "not_found"}}), True),
        (answer(404, b""), True),
        (answer(404, {"error": {"code": "tenant_not_found"}}), False),
        (answer(404, b"<html>", content_type="text/html"), False),
        (answer(404, b"404 page not found", content_type="text/plain"), False),
    ],
)
async def test_only_the_api_itself_can_say_that_it_has_no_status_route(
    told: Step, *, lacks: bool
) -> None:
    async with api(told) as (management, _):
        found = await management.status("t1")

    assert found is None if lacks else isinstance(found, Failure)


async def post(step: Step) -> Deployment | Failure:
    async with api(step) as (management, _):
        return await management.deploy("t1", IMAGE, "k1")


async def test_each_attempt_sends_the_same_bytes() -> None:
    async with api(answer(200, {"status": "deploying"})) as (management, server):
        for _ in range(2):
            await management.deploy("t1", IMAGE, "k1")

    first, second = server.requests
    assert first.raw == second.raw
    assert (first.method, first.path) == ("POST", "/api/v1/tenants/t1/deploy")
    assert json.loads(first.body) == {"image": IMAGE}
    assert first.headers["idempotency-key"] == "k1"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["authorization"] == "Bearer API"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("body", "deployment"),
    [
        (
            {"data": {"status": "deployed", "app_url": "https://t1.example", "deploy_id": "d1"}},
            Deployment(deploy_status="deployed", url="https://t1.example", deploy_id="d1"),
        ),
        (
            {"status": "deploying", "url": "https://t1.example/"},
            Deployment(deploy_status="deploying", url="https://t1.example/"),
        ),
        (
            {"data": {"status": "weird", "app_url": None, "deploy_id": 7, "message": 1}},
            Deployment(deploy_status="weird", url=None, deploy_id="7"),
        ),
        (
            {"data": {"status": "\x1b]0;pwned\x07\x1b[2J", "app_url": "javascript:x"}},
            Deployment(deploy_status="unknown", url=None),
        ),
        (
            {"data": {"status": "ok", "app_url": "http://t1.example", "url": "https://b.example"}},
            Deployment(deploy_status="ok", url="https://b.example"),
        ),
        (
            {"data": {"status": "ok", "app_url": "http://127.0.0.1:8080"}},
            Deployment(deploy_status="ok", url="http://127.0.0.1:8080"),
        ),
        (
            {"data": {"status": "ok", "app_url": "https://u:p@t1.example"}},
            Deployment(deploy_status="ok", url=None),
        ),
    ],
    ids=str,
)
async def test_an_accepted_deploy_is_a_deployment(
    body: dict[str, object], deployment: Deployment
) -> None:
    assert await post(answer(202, body)) == deployment


async def test_a_replayed_answer_says_so() -> None:
    got = await post(answer(200, {"status": "deployed"}, idempotent_replayed="true"))

    assert got == Deployment(deploy_status="deployed", url=None, how="replayed")


DEPLOYED = answer(200, {"data": {"status": "deployed", "app_url": "https://t1.example"}})


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (error(401, "unauthorized"), Kind.DEPLOY_LOGIN_REFUSED),
        (error(403, "forbidden"), Kind.DEPLOY_FORBIDDEN),
        (error(404, "tenant_not_found"), Kind.DEPLOY_NO_TENANT),
        (error(404, "image_not_found"), Kind.IMAGE_NOT_FOUND),
        (error(422, "image_not_found"), Kind.IMAGE_NOT_FOUND),
        (error(409, "deploy_in_progress"), Kind.DEPLOY_RUNNING),
        (error(409, "idempotency_in_progress"), Kind.KEY_IN_PROGRESS),
        (error(422, "idempotency_mismatch"), Kind.DEPLOY_INVALID),
        (error(422, "invalid_image"), Kind.DEPLOY_INVALID),
        (error(400, "bad_request"), Kind.DEPLOY_INVALID),
        (error(400, "no_infrastructure"), Kind.TENANT_NOT_READY),
        (error(429, "rate_limited"), Kind.DEPLOY_RATE_LIMIT),
        (error(500, "machine_update_failed"), Kind.UPDATE_FAILED),
        (error(200, "machine_update_failed"), Kind.UPDATE_FAILED),
        (answer(200, {"data": {"status": "failed", "message": "no"}}), Kind.UPDATE_FAILED),
        (answer(200, {"status": "ERROR"}), Kind.UPDATE_FAILED),
        (answer(301, location="https://evil.example"), Kind.DEPLOY_REDIRECTED),
        (answer(307, location="https://evil.example"), Kind.DEPLOY_REDIRECTED),
        # Nobody knows: the work may be done.
        (error(408, "timeout"), Kind.SERVER_ERROR),
        (error(500, "internal"), Kind.SERVER_ERROR),
        (HTML, Kind.SERVER_ERROR),
        (answer(503), Kind.SERVER_ERROR),
        (answer(504, b"<html>", content_type="text/html"), Kind.SERVER_ERROR),
        (error(200, "other"), Kind.ANSWER_UNREADABLE),
        (answer(200), Kind.ANSWER_UNREADABLE),
        (answer(204), Kind.ANSWER_UNREADABLE),
        (
            answer(200, b"<html>captive portal</html>", content_type="text/html"),
            Kind.ANSWER_UNREADABLE,
        ),
        (answer(200, b'{"data": {"status": "depl'), Kind.ANSWER_UNREADABLE),
        (answer(200, {"data": {"app_url": "https://t1.example"}}), Kind.ANSWER_UNREADABLE),
        (answer(200, {"data": {"status": 7}}), Kind.ANSWER_UNREADABLE),
        (answer(200, b"[" * 100_000), Kind.ANSWER_UNREADABLE),
        (
            answer(200, gzip.compress(b" " * 50_000_000), content_encoding="gzip"),
            Kind.ANSWER_UNREADABLE,
        ),
        (DEPLOYED[:-5], Kind.OUTCOME_UNKNOWN),
        (Reset(), Kind.OUTCOME_UNKNOWN),
        (b"", Kind.OUTCOME_UNKNOWN),
        (Flood(100_000), Kind.OUTCOME_UNKNOWN),
        (answer(200, b" " * 1_048_577), Kind.ANSWER_UNREADABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_what_is_no_deployment_says_what_is_known_of_the_work(step: Step, kind: Kind) -> None:
    failure = await post(step)

    assert isinstance(failure, Failure)
    assert (failure.phase, failure.kind) == (State.DEPLOYING, kind)
    assert failure.cause.isprintable()
    assert failure.cause


@pytest.mark.parametrize("step", [Pause(math.inf), Drip(DEPLOYED, 0.05)], ids=["silent", "drip"])
async def test_a_deploy_that_is_not_answered_in_time_is_unknown(step: Step) -> None:
    async with api(step, deploy_deadline=0.2) as (management, server):
        failure = await management.deploy("t1", IMAGE, "k1")

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.cause) == (
        Kind.OUTCOME_UNKNOWN,
        "no whole answer within 0.2 s",
    )
    assert len(server.requests) == 1


async def test_a_failed_update_carries_the_servers_message() -> None:
    failure = await post(answer(200, {"status": "failed", "message": "flyd: no memory"}))

    assert isinstance(failure, Failure)
    assert failure.cause == "failed: flyd: no memory"


async def test_the_same_key_in_progress_says_how_long_to_wait() -> None:
    failure = await post(error(409, "idempotency_in_progress", "busy", retry_after="1"))

    assert isinstance(failure, Failure)
    assert (failure.cause, failure.retry_after) == ("idempotency_in_progress: busy", 1.0)


async def test_a_refused_connection_means_the_deploy_was_not_sent() -> None:
    async with api(b"") as (_, server):
        url = ApiUrl(server.url)
    async with Http() as http:
        failure = await Management(http, api_url=url, token=Secret("t")).deploy("t1", IMAGE, "k")

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.NOT_SENT


@pytest.mark.parametrize(
    ("status", "tenant", "kind"),
    [
        (answer(200, {"data": {"status": "running"}}), answer(404), Kind.IMAGE_NOT_FOUND),
        (answer(404), answer(200, {"data": {"id": "t1"}}), Kind.IMAGE_NOT_FOUND),
        (answer(404), answer(404), Kind.DEPLOY_NO_TENANT),
        (answer(404), answer(500), Kind.DEPLOY_INVALID),
        (answer(404), answer(200, b"<html>"), Kind.DEPLOY_INVALID),
        (answer(500), answer(200, {}), Kind.DEPLOY_INVALID),
        (b"", answer(200, {}), Kind.DEPLOY_INVALID),
    ],
)
async def test_a_404_without_a_code_is_told_apart_by_looking_at_the_tenant(
    status: bytes, tenant: bytes, kind: Kind
) -> None:
    def respond(request: Request) -> list[Step]:
        routes = {"/deploy": answer(404), "/status": status, "/t1": tenant}
        return [next(step for end, step in routes.items() if request.path.endswith(end))]

    async with api(respond) as (management, server):
        failure = await management.deploy("t1", IMAGE, "k1")

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.http_status) == (kind, 404)
    assert [request.method for request in server.requests].count("POST") == 1


# -- status


async def ask_status(step: Step) -> object:
    async with api(step) as (management, _):
        return await management.status("t1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"data": {"status": "ready"}}, TenantStatus(deploy_status="ready")),
        (
            {
                "status": "running",
                "message": "all\nwell",
                "url": "https://t1.example",
                "image": IMAGE,
                "deploy_id": "d1",
                "capabilities": ["idempotency"],
                "secrets_url": "https://x",
            },
            TenantStatus(
                deploy_status="running",
                message="all well",
                url="https://t1.example",
                image=IMAGE,
                deploy_id="d1",
                names_images=True,
                capabilities=frozenset({"idempotency"}),
            ),
        ),
        (
            {"status": "x", "message": 7, "image": None, "deploy_id": True, "capabilities": "all"},
            TenantStatus(deploy_status="x", names_images=True),
        ),
    ],
    ids=str,
)
async def test_a_status_is_read_with_its_extras(
    body: dict[str, object], status: TenantStatus
) -> None:
    assert await ask_status(answer(200, body)) == status


@pytest.mark.parametrize(
    ("told", "image"),
    [
        ("r.example:5000/a:v1@sha256:" + "0" * 64, "r.example:5000/a:v1"),
        ("r.example:5000/a@sha256:" + "0" * 64, "r.example:5000/a@sha256:" + "0" * 64),
        (None, None),
    ],
)
async def test_a_digest_behind_the_tag_makes_it_no_other_image(
    told: str | None, image: str | None
) -> None:
    status = await ask_status(answer(200, {"status": "running", "image": told}))

    assert isinstance(status, TenantStatus)
    assert status.image == image


@pytest.mark.parametrize("step", [answer(404), error(404, "not_found"), error(404, "no_route")])
async def test_a_server_without_the_status_route_has_no_status(step: bytes) -> None:
    assert await ask_status(step) is None


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (error(404, "tenant_not_found"), Kind.TENANT_UNKNOWN),
        (error(401, "unauthorized"), Kind.API_LOGIN_REFUSED),
        (answer(503), Kind.API_UNAVAILABLE),
        (answer(200, {"data": {}}), Kind.NOT_THE_API),
        (answer(302, location="https://evil.example"), Kind.NOT_THE_API),
        (b"", Kind.API_UNAVAILABLE),
    ],
)
async def test_a_status_that_cannot_be_read_is_a_failure_in_deploying(
    step: Step, kind: Kind
) -> None:
    failure = await ask_status(step)

    assert isinstance(failure, Failure)
    assert (failure.phase, failure.kind) == (State.DEPLOYING, kind)
