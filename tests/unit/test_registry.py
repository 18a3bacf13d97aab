"""The registry: who answers, where the login may go, which manifest a tag names."""

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from deployer.adapters.http.answer import Answer
from deployer.adapters.http.client import Http
from deployer.adapters.registry.auth import Bearer, bearer, bearer_challenge, token_url
from deployer.adapters.registry.client import Registry
from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import Digest, ImageRef
from deployer.states.flow import State
from tests.servers import asked
from tests.servers.asked import login_at
from tests.servers.raw_http import (
    RawServer,
    Request,
    Reset,
    Respond,
    Step,
    answer,
    raw_server,
    server_tls,
)

pytestmark = pytest.mark.anyio

OCI = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}\n'
DIGEST = Digest(f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}")
OTHER = Digest("sha256:" + "0" * 64)
BASIC = "Basic " + base64.b64encode(b"x:REGSECRET").decode()
IS_REGISTRY = answer(200, {}, Docker_Distribution_Api_Version="registry/2.0")
REFUSED = answer(401, www_authenticate='Basic realm="r"')


@asynccontextmanager
async def registry(
    respond: Respond | Step,
) -> AsyncIterator[tuple[Registry, RawServer, ImageRef, Login]]:
    async with asked.registry(respond) as (adapter, server):
        ref = ImageRef(server.authority, "sp-1", "deploy-1")
        yield adapter, server, ref, login_at(server.authority)


# -- probe


async def probe(respond: Respond | Step) -> Failure | None:
    async with registry(respond) as (adapter, _, _, login):
        return await adapter.probe(login)


@pytest.mark.parametrize(
    "step",
    [
        IS_REGISTRY,
        answer(200, b"", Docker_Distribution_Api_Version="registry/2.0"),
        answer(200, {}),
    ],
)
async def test_a_registry_that_takes_the_login_passes(step: bytes) -> None:
    assert await probe(step) is None


async def test_the_probe_shows_the_login_to_the_registry() -> None:
    async with registry(IS_REGISTRY) as (adapter, server, _, login):
        await adapter.probe(login)

    [request] = server.requests
    assert (request.method, request.path) == ("GET", "/v2/")
    assert request.headers["authorization"] == BASIC


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (REFUSED, Kind.REGISTRY_AUTH),
        (answer(401), Kind.REGISTRY_AUTH),
        (answer(403), Kind.REPOSITORY_DENIED),
        (answer(404), Kind.REGISTRY_UNAVAILABLE),
        (answer(429, retry_after="7"), Kind.REGISTRY_RATE_LIMIT),
        (answer(500), Kind.REGISTRY_UNAVAILABLE),
        (answer(503, b"<html>", content_type="text/html"), Kind.REGISTRY_UNAVAILABLE),
        (answer(302, location="https://evil.example"), Kind.REGISTRY_UNAVAILABLE),
        (answer(200, b"<html>portal</html>", content_type="text/html"), Kind.NOT_A_REGISTRY),
        (answer(200), Kind.NOT_A_REGISTRY),
        (answer(204), Kind.NOT_A_REGISTRY),
        (answer(413, b"<html>"), Kind.NOT_A_REGISTRY),
        (answer(200, b" " * 5_000_000), Kind.NOT_A_REGISTRY),
        (Reset(), Kind.REGISTRY_UNAVAILABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_what_is_no_welcome_is_its_own_failure(step: Step, kind: Kind) -> None:
    failure = await probe(step)

    assert isinstance(failure, Failure)
    assert (failure.phase, failure.kind) == (State.PUSHING, kind)
    assert failure.cause.isprintable()
    assert "REGSECRET" not in repr(failure)


async def test_a_registry_that_is_down_is_unreachable() -> None:
    async with registry(IS_REGISTRY) as (_, _, _, login):
        pass
    async with Http() as http:
        failure = await Registry(http).probe(login)

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.REGISTRY_UNREACHABLE


async def test_a_distant_registry_is_asked_over_tls_only() -> None:
    async with Http() as http:
        failure = await Registry(http).probe(login_at("no-such-host.invalid"))

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.REGISTRY_UNREACHABLE
    assert failure.cause.startswith("no-such-host.invalid")


@pytest.mark.parametrize("host", ["", "a/b", "h/x?y=", "u@h", "h:99999", "h\n", "h#", "h\\x"])
async def test_a_host_that_is_none_is_not_asked(host: str) -> None:
    async with Http() as http:
        failure = await Registry(http).probe(login_at(host))

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.NOT_A_REGISTRY


# -- Bearer: the registry says where the login goes


def bearer_registry(realm: str, *, extra: str = "") -> Respond:
    """Takes the token "T" alone, and hands it out below /token."""

    def respond(request: Request) -> list[Step]:
        if request.path.startswith("/token"):
            taken = request.headers.get("authorization") == BASIC
            return [answer(200, {"token": "T"}) if taken else answer(401)]
        if request.headers.get("authorization") == "Bearer T":
            return [answer(200, MANIFEST, content_type=OCI, docker_content_digest=DIGEST)]
        realm_here = realm.replace("SELF", request.headers["host"])
        challenge = f'Bearer realm="{realm_here}",service="reg & co",scope="x"{extra}'
        return [answer(401, www_authenticate=challenge)]

    return respond


async def test_a_token_is_fetched_from_the_registrys_own_host() -> None:
    async with registry(bearer_registry("http://SELF/token?a=1")) as (adapter, server, ref, login):
        digest = await adapter.digest(ref, login)

    assert digest == DIGEST
    assert [request.path for request in server.requests] == [
        "/v2/sp-1/manifests/deploy-1",
        "/token?a=1&service=reg+%26+co&scope=repository%3Asp-1%3Apull",
        "/v2/sp-1/manifests/deploy-1",
    ]
    assert all("REGSECRET" not in request.path for request in server.requests)


@pytest.mark.parametrize(
    ("told", "header"),
    [
        ({"token": "T"}, "Bearer T"),
        ({"access_token": "A"}, "Bearer A"),
        ({"token": "", "access_token": "A"}, "Bearer A"),
        ({"token": "T", "access_token": "A"}, "Bearer T"),
    ],
    ids=str,
)
def test_a_token_has_one_of_two_names(told: dict[str, str], header: str) -> None:
    assert bearer(Answer(200, {}, json.dumps(told).encode())) == header


async def test_a_foreign_realm_hears_nothing() -> None:
    asked: list[str] = []

    def internet(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        challenge = {"www-authenticate": 'Bearer realm="https://thief.example/token"'}
        token = httpx.ByteStream(b'{"token": "T"}')
        return httpx.Response(401, headers=challenge, stream=token)

    async with Http(transport=httpx.MockTransport(internet)) as http:
        failure = await Registry(http).probe(login_at("registry.fly.io"))

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.REALM_FOREIGN
    assert "thief.example" in failure.cause
    assert asked == ["registry.fly.io"]


@pytest.mark.parametrize(
    ("registry_host", "realm", "goes"),
    [
        ("registry.fly.io", "https://registry.fly.io/token", True),
        ("registry.fly.io", "https://registry.fly.io:8443/token", True),
        ("registry.fly.io", "https://auth.registry.fly.io/token", True),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("registry.example.com:5000", "https://registry.example.com/token", True),
        ("registry-1.docker.io", "https://listed.example/token", True),
        ("registry.fly.io", "https://registry.fly.io/token/", True),
        ("127.0.0.1:5000", "http://127.0.0.1:5001/token", True),
        ("localhost:5000", "http://[::1]:5001/token", False),
        ("registry.fly.io", "http://registry.fly.io/token", False),
        ("registry-1.docker.io", "http://listed.example/token", False),
        ("registry.fly.io", "https://evil.example/token", False),
        ("registry.fly.io", "https://registry.fly.io.evil.example/token", False),
        ("registry.fly.io", "https://evilregistry.fly.io/token", False),
        ("evilfly.io", "https://fly.io/token", False),
        ("mine.fly.dev", "https://yours.fly.dev/token", False),
        ("registry.fly.io", "https://io/token", False),
        ("registry.fly.io", "http://127.0.0.1/token", False),
        ("registry.fly.io", "http://localhost/token", False),
        ("127.0.0.1:5000", "https://evil.example/token", False),
        ("10.20.0.1", "https://20.0.1/token", False),
        ("registry.fly.io", "https://registry.fly.io@evil.example/token", False),
        ("registry.fly.io", "https://evil.example\\@registry.fly.io/token", False),
        ("registry.fly.io", "https://registry.fly.io#@evil.example/", False),
        ("registry.fly.io", "//registry.fly.io/token", False),
        ("registry.fly.io", "javascript:x", False),
        ("registry.fly.io", "", False),
    ],
)
def test_the_login_goes_to_the_registrys_own_site_alone(
    registry_host: str, realm: str, *, goes: bool
) -> None:
    url = token_url(
        Bearer(realm, "s", ""), registry=registry_host, scope=None, realms={"listed.example"}
    )

    assert url == (f"{realm}?service=s" if goes else None)


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        (answer(401), Kind.REGISTRY_AUTH),
        (answer(403), Kind.REPOSITORY_DENIED),
        (answer(429), Kind.REGISTRY_RATE_LIMIT),
        (answer(503), Kind.REGISTRY_UNAVAILABLE),
        (answer(302, location="https://evil.example"), Kind.REGISTRY_UNAVAILABLE),
        (answer(200, b"<html>"), Kind.NOT_A_REGISTRY),
        (answer(200, {"token": ""}), Kind.NOT_A_REGISTRY),
        (answer(200, {"token": "two\nlines"}), Kind.NOT_A_REGISTRY),
        (Reset(), Kind.REGISTRY_UNAVAILABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_a_token_server_that_gives_none_is_its_own_failure(token: Step, kind: Kind) -> None:
    def respond(request: Request) -> list[Step]:
        if request.path.startswith("/token"):
            return [token]
        realm = f"http://{request.headers['host']}/token"
        return [answer(401, www_authenticate=f'Bearer realm="{realm}"')]

    failure = await probe(respond)

    assert isinstance(failure, Failure)
    assert failure.kind is kind


async def test_a_token_that_allows_too_little_is_a_denied_repository() -> None:
    def respond(request: Request) -> list[Step]:
        if request.path.startswith("/token"):
            return [answer(200, {"access_token": "weak"})]
        realm = f"http://{request.headers['host']}/token"
        challenge = f'Bearer realm="{realm}",error="insufficient_scope"'
        return [answer(401, www_authenticate=challenge)]

    failure = await probe(respond)

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.REPOSITORY_DENIED


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ('Bearer realm="https://h/t",service="s"', Bearer("https://h/t", "s", "")),
        ("bearer  realm=https://h/t , service=s", Bearer("https://h/t", "s", "")),
        ('Basic realm="x", Bearer realm="https://h/t"', Bearer("https://h/t", "", "")),
        ('Bearer realm="https://h/t", Basic realm="x"', Bearer("https://h/t", "", "")),
        ('Bearer error="invalid_token"', Bearer("", "", "invalid_token")),
        ('Basic realm="Bearer"', None),
        ("Basic", None),
        ("", None),
    ],
)
def test_a_challenge_is_found_among_others(header: str, challenge: Bearer | None) -> None:
    assert bearer_challenge(Answer(401, {"www-authenticate": header}, b"")) == challenge


@pytest.mark.parametrize("part", ['a="', "a=", "a=a", "Bearer ", ", ", 'a="b",'])
def test_a_hostile_challenge_is_read_in_no_time(part: str) -> None:
    begun = time.perf_counter()
    bearer_challenge(Answer(401, {"www-authenticate": "Bearer " + part * 300_000}, b""))

    assert time.perf_counter() - begun < 2.0


# -- digest


async def test_the_digest_is_what_the_registry_names() -> None:
    reply = answer(200, b"", content_type=OCI, docker_content_digest=DIGEST)
    async with registry(reply) as (adapter, server, ref, login):
        assert await adapter.digest(ref, login) == DIGEST

    [request] = server.requests
    assert (request.method, request.path) == ("HEAD", "/v2/sp-1/manifests/deploy-1")
    assert OCI in request.headers["accept"]
    assert "application/vnd.docker.distribution.manifest.list.v2+json" in request.headers["accept"]


@pytest.mark.parametrize("named", ["", "sha256:short", "sha512:" + "0" * 128])
async def test_a_registry_that_names_no_digest_has_its_manifest_hashed(named: str) -> None:
    def respond(request: Request) -> list[Step]:
        body = b"" if request.method == "HEAD" else MANIFEST
        return [answer(200, body, content_type=OCI, docker_content_digest=named)]

    async with registry(respond) as (adapter, server, ref, login):
        assert await adapter.digest(ref, login) == DIGEST

    assert [request.method for request in server.requests] == ["HEAD", "GET"]


async def test_a_tag_that_is_not_there_has_no_digest() -> None:
    async with registry(answer(404)) as (adapter, _, ref, login):
        assert await adapter.digest(ref, login) is None


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (REFUSED, Kind.REGISTRY_AUTH),
        (answer(403), Kind.REPOSITORY_DENIED),
        (answer(404, content_type="text/html"), Kind.REGISTRY_UNAVAILABLE),
        (answer(503), Kind.REGISTRY_UNAVAILABLE),
        (answer(307, location="https://evil.example"), Kind.REGISTRY_UNAVAILABLE),
        (answer(200, content_type="text/html"), Kind.NOT_A_REGISTRY),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_a_manifest_that_cannot_be_looked_at_is_a_failure(step: Step, kind: Kind) -> None:
    async with registry(step) as (adapter, _, ref, login):
        failure = await adapter.digest(ref, login)

    assert isinstance(failure, Failure)
    assert failure.kind is kind


async def test_a_manifest_over_four_mebibytes_is_refused() -> None:
    def respond(request: Request) -> list[Step]:
        body = b"" if request.method == "HEAD" else b" " * (4 * 1024 * 1024 + 1)
        return [answer(200, body, content_type=OCI)]

    async with registry(respond) as (adapter, _, ref, login):
        failure = await adapter.digest(ref, login)

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.NOT_A_REGISTRY


async def test_a_login_is_shown_to_its_own_registry_alone() -> None:
    async with registry(IS_REGISTRY) as (adapter, server, ref, _):
        failure = await adapter.digest(ref, login_at("registry.fly.io"))

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.REGISTRY_AUTH
    assert server.connections == 0


# -- retag


async def test_a_tag_moves_byte_for_byte() -> None:
    def respond(request: Request) -> list[Step]:
        if request.method == "GET":
            return [answer(200, MANIFEST, content_type=f"{OCI}; charset=utf-8")]
        return [answer(201, docker_content_digest=DIGEST)]

    async with registry(respond) as (adapter, server, ref, login):
        assert await adapter.retag(ref, DIGEST, login) is None

    got, put = server.requests
    assert got.path == f"/v2/sp-1/manifests/{DIGEST}"
    assert (put.method, put.path) == ("PUT", "/v2/sp-1/manifests/deploy-1")
    assert (put.body, put.headers["content-type"]) == (MANIFEST, OCI)


def moving(get: Step, put: Step, head: Step = b"") -> Respond:
    return lambda request: [{"GET": get, "PUT": put, "HEAD": head}[request.method]]


WHOLE = answer(200, MANIFEST, content_type=OCI)
MOVED = answer(201, docker_content_digest=DIGEST)


@pytest.mark.parametrize(
    ("respond", "kind"),
    [
        (moving(answer(404), MOVED), Kind.NO_ROLLBACK),
        (moving(answer(200, MANIFEST + b" ", content_type=OCI), MOVED), Kind.DIGEST_MISMATCH),
        (moving(answer(200, MANIFEST), MOVED), Kind.NOT_A_REGISTRY),
        (moving(WHOLE, answer(201, docker_content_digest=OTHER)), Kind.DIGEST_MISMATCH),
        (moving(WHOLE, answer(201), answer(404)), Kind.DIGEST_MISMATCH),
        (moving(WHOLE, answer(201), answer(503)), Kind.REGISTRY_UNAVAILABLE),
        (moving(WHOLE, answer(403)), Kind.REPOSITORY_DENIED),
        (
            moving(WHOLE, answer(404, {"errors": [{"code": "NAME_UNKNOWN"}]})),
            Kind.REPOSITORY_DENIED,
        ),
        (moving(WHOLE, answer(400, {"errors": [{"code": "MANIFEST_INVALID"}]})), Kind.PUSH_FAILED),
        (moving(WHOLE, answer(413, b"<html>too large</html>")), Kind.NOT_A_REGISTRY),
        (moving(WHOLE, answer(302, location="https://evil.example")), Kind.REGISTRY_UNAVAILABLE),
        (moving(WHOLE, Reset()), Kind.REGISTRY_UNAVAILABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_a_tag_that_did_not_move_is_a_failure(respond: Respond, kind: Kind) -> None:
    async with registry(respond) as (adapter, _, ref, login):
        failure = await adapter.retag(ref, DIGEST, login)

    assert isinstance(failure, Failure)
    assert failure.kind is kind


async def test_a_put_without_a_digest_is_looked_at_again() -> None:
    head = answer(200, b"", content_type=OCI, docker_content_digest=DIGEST)
    async with registry(moving(WHOLE, answer(201), head)) as (adapter, server, ref, login):
        assert await adapter.retag(ref, DIGEST, login) is None

    assert [request.method for request in server.requests] == ["GET", "PUT", "HEAD"]


async def test_the_registrys_words_arrive_without_their_escapes() -> None:
    errors = [{"code": "DENIED", "message": "no \x1b]0;pwned\x07\x1b[2Jway", "detail": {"a": 1}}]
    failure = await probe(answer(403, {"errors": errors}))

    assert isinstance(failure, Failure)
    assert failure.cause == "DENIED: no way"


async def test_the_registrys_words_are_not_cut_where_no_mark_shows_it() -> None:
    failure = await probe(answer(503, ("\u200b" * 660 + "it is s3cret-and-long").encode()))

    assert isinstance(failure, Failure)
    assert failure.cause == "it is s3cret-and-long"


async def test_a_registry_on_tls_with_a_bad_certificate_is_told_apart() -> None:
    # Registries on this machine are asked in plain HTTP, so TLS is met at the token server.
    async with raw_server(answer(200, {"token": "T"}), tls=server_tls()) as secure:
        challenge = f'Bearer realm="https://{secure.authority}/token"'
        failure = await probe(answer(401, www_authenticate=challenge))

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.REGISTRY_TLS
    assert secure.requests == []


# -- the right to push


def uploads(location: str, status: int = 202) -> Respond:
    def respond(request: Request) -> list[Step]:
        where = location.replace("SELF", request.headers["host"])
        return [answer(status, location=where) if request.method == "POST" else answer(204)]

    return respond


@pytest.mark.parametrize("host", ["", "http://SELF"])
async def test_an_upload_session_is_opened_and_ended(host: str) -> None:
    respond = uploads(f"{host}/v2/sp-1/blobs/uploads/u1?_state=a%2Bb")
    async with registry(respond) as (adapter, server, ref, login):
        refused = await adapter.may_push(ref, login)

    assert refused is None
    assert [(each.method, each.path) for each in server.requests] == [
        ("POST", "/v2/sp-1/blobs/uploads/"),
        ("DELETE", "/v2/sp-1/blobs/uploads/u1?_state=a%2Bb"),
    ]
    assert all(each.headers["authorization"] == BASIC for each in server.requests)


@pytest.mark.parametrize(
    "location", ["http://thief.example/v2/x", "/other", "", "http://[", "//h/v2/"]
)
async def test_a_session_elsewhere_is_not_followed(location: str) -> None:
    async with registry(uploads(location)) as (adapter, server, ref, login):
        assert await adapter.may_push(ref, login) is None

    assert [each.method for each in server.requests] == ["POST"]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (REFUSED, Kind.REGISTRY_AUTH),
        (answer(403, {"errors": [{"code": "DENIED"}]}), Kind.REPOSITORY_DENIED),
        (answer(404, {"errors": [{"code": "NAME_UNKNOWN"}]}), Kind.REPOSITORY_DENIED),
        (answer(503), Kind.REGISTRY_UNAVAILABLE),
        (answer(200), Kind.NOT_A_REGISTRY),
        (Reset(), Kind.REGISTRY_UNAVAILABLE),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else None,
)
async def test_an_upload_that_is_not_let_in_says_why(step: Step, kind: Kind) -> None:
    async with registry(step) as (adapter, _, ref, login):
        refused = await adapter.may_push(ref, login)

    assert isinstance(refused, Failure)
    assert refused.kind is kind
