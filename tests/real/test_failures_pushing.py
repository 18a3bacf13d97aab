"""Every way in which a push fails: a real engine, and registries that refuse, break off or lie."""

import json
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from deployer.adapters.clock import SystemClock
from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.docker.engine import Docker, Patience
from deployer.adapters.http.client import Http
from deployer.adapters.http.url import parse_api_url
from deployer.adapters.management.api import Management
from deployer.adapters.registry.client import Registry
from deployer.events import Transient
from deployer.failures import Failure
from deployer.model import Image, Login, Secret
from deployer.names import Digest, ImageRef
from deployer.ports import Idle, ImageOrder
from deployer.sandbox.options import TENANTS
from deployer.sandbox.up import Sandbox
from deployer.states.pushing import confirmed
from deployer.states.world import World
from tests.servers import asked
from tests.servers.asked import login_at
from tests.servers.cutting import cutting
from tests.servers.engine import StandIn, serving
from tests.servers.engine import image as stored_image
from tests.servers.raw_http import Step, answer

pytestmark = [pytest.mark.real, pytest.mark.anyio]

Provoked = Callable[[str, object], None]
IMPATIENT = Patience(push=2.0)


def deaf(_event: Transient) -> None:
    pass


@pytest.fixture
async def image(engine: str, tmp_path: Path) -> Image:
    (tmp_path / "Dockerfile").write_text(f"FROM debian:bookworm-slim\nLABEL n={tmp_path}\n")
    name = f"deployer-test/{secrets.token_hex(6)}:1"
    order = ImageOrder(project_root=tmp_path, dockerfile=Path("Dockerfile"), local_tag=name)
    built = await Docker(context=BuildContext(), endpoint=engine).build(order, deaf)
    assert isinstance(built, Image), built
    return built


async def pushed(engine: str, image: Image, login: Login, repository: str = "app") -> object:
    docker = Docker(context=BuildContext(), endpoint=engine, patience=IMPATIENT)
    target = ImageRef(login.registry, login.repository or repository, "v1")
    return await docker.push(image.local_tag, target, login, deaf)


@asynccontextmanager
async def granted(sandbox: Sandbox) -> AsyncIterator[tuple[Login, Registry]]:
    """A login of the sandbox, and our own eyes on its registry."""
    url = parse_api_url(sandbox.api_url)
    assert not isinstance(url, Failure)
    async with Http() as http:
        api = Management(http, api_url=url, token=Secret(sandbox.api_token))
        login = await api.registry_login(TENANTS[0].id)
        assert isinstance(login, Login)
        yield login, Registry(http)


# -- The sandbox's registry, through the real engine


async def test_a_wrong_password(
    sandbox: Sandbox, engine: str, image: Image, provoked: Provoked
) -> None:
    async with granted(sandbox) as (login, registry):
        wrong = replace(login, password=Secret("not-the-password"))

        provoked("P01", await pushed(engine, image, wrong))
        provoked("P01", await registry.probe(wrong))


async def test_no_password(sandbox: Sandbox, engine: str, image: Image, provoked: Provoked) -> None:
    async with granted(sandbox) as (login, _):
        provoked("P01", await pushed(engine, image, replace(login, password=Secret(""))))


async def test_the_right_to_push_is_missed_before_the_compile(
    sandbox: Sandbox, fault: Callable[..., None], provoked: Provoked
) -> None:
    async with granted(sandbox) as (login, registry):
        fault("push-401")
        ref = ImageRef(login.registry, login.repository or "", "v1")
        provoked("P01", await registry.may_push(ref, login))


async def test_somebody_else_s_repository(
    sandbox: Sandbox, engine: str, image: Image, provoked: Provoked
) -> None:
    async with granted(sandbox) as (login, _):
        other = replace(login, repository=TENANTS[1].app)
        provoked("P02", await pushed(engine, image, other))


async def test_a_login_that_ends_during_the_push(
    sandbox: Sandbox, engine: str, image: Image, fault: Callable[..., None], provoked: Provoked
) -> None:
    fault("push-expire", 5)
    async with granted(sandbox) as (login, _):
        provoked("P03", await pushed(engine, image, login))


async def test_a_login_that_is_wanted_elsewhere_is_not_sent(
    sandbox: Sandbox, fault: Callable[..., None], provoked: Provoked
) -> None:
    async with granted(sandbox) as (login, registry):
        fault("registry-foreign-realm")
        wrong = replace(login, password=Secret("not-the-password"))
        provoked("P17", await registry.probe(wrong))


async def test_nothing_listens(engine: str, image: Image, provoked: Provoked) -> None:
    provoked("P04", await pushed(engine, image, login_at("127.0.0.1:1")))
    async with Http() as http:
        provoked("P04", await Registry(http).probe(login_at("127.0.0.1:1")))


async def test_an_image_that_is_not_there(engine: str, image: Image, provoked: Provoked) -> None:
    gone = replace(image, local_tag="deployer-test/never-built:1")

    provoked("P11", await pushed(engine, gone, login_at("127.0.0.1:1")))


async def test_an_engine_that_dies_in_mid_push(
    engine: str, image: Image, registry: str, tmp_path: Path, provoked: Provoked
) -> None:
    async with cutting(engine, tmp_path / "door.sock", b"The push refers to") as door:
        provoked("P13", await pushed(door, image, login_at(registry)))


# -- A registry that has all layers already, and answers the manifest as it likes


Answer = Callable[[web.Request], Awaitable[web.Response]]


def refuses(status: int, code: str, message: str) -> Answer:
    errors = {"errors": [{"code": code, "message": message, "detail": [{"Class": ""}]}]}

    async def respond(_request: web.Request) -> web.Response:
        return web.json_response(errors, status=status)

    return respond


def shows(status: int, page: str) -> Answer:
    async def respond(_request: web.Request) -> web.Response:
        return web.Response(text=page, status=status, content_type="text/html")

    return respond


async def breaks_off(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


async def is_silent(_request: web.Request) -> web.Response:
    await anyio.sleep(math.inf)
    raise AssertionError


@asynccontextmanager
async def full_registry(at_the_manifest: Answer) -> AsyncIterator[str]:
    """Its address. It has every layer already: only the manifest is sent."""

    async def serve(request: web.Request) -> web.Response:
        if request.method == "PUT":
            return await at_the_manifest(request)
        digest = request.path.rpartition("/")[2]
        headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
        if "/blobs/" in request.path:
            headers |= {"Docker-Content-Digest": digest, "Content-Length": "1"}
        return web.Response(headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("failure_id", "at_the_manifest"),
    [
        ("P05", refuses(503, "UNAVAILABLE", "try later")),
        ("P05", shows(502, "<html>bad gateway</html>")),
        ("P06", refuses(429, "TOOMANYREQUESTS", "slow down")),
        ("P07", breaks_off),
        ("P08", is_silent),
        ("P09", refuses(400, "DIGEST_INVALID", "provided digest did not match uploaded content")),
        ("P14", shows(413, "<html>too large</html>")),
        ("P00", refuses(400, "MANIFEST_INVALID", "nobody foresaw this")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_a_real_engine_s_push_fails_as_the_catalogue_says(
    engine: str, image: Image, provoked: Provoked, failure_id: str, at_the_manifest: Answer
) -> None:
    async with full_registry(at_the_manifest) as address:
        found = await pushed(engine, image, login_at(address))

    provoked(failure_id, found)


async def test_an_index_is_not_taken_for_a_missing_repository(provoked: Provoked) -> None:
    index = {"mediaType": "application/vnd.oci.image.index.v1+json"}
    refusal = json.dumps({"error": "unknown: app repository not found"})
    for descriptor, failure_id in ((index, "P18"), (None, "P02")):
        made = {"app:1": {**stored_image(), "Descriptor": descriptor}}
        async with serving(StandIn(lines=[refusal], images=made)) as engine:
            docker = Docker(context=BuildContext(), endpoint=engine.endpoint)
            target = ImageRef("registry.test", "app", "v1")
            found = await docker.push("app:1", target, login_at("registry.test"), deaf)
        provoked(failure_id, found)


# -- Our own look at a registry


@pytest.mark.parametrize(
    ("failure_id", "step"),
    [
        ("P05", answer(302, location="http://127.0.0.1:1/")),
        ("P14", answer(200, b"<html>captive portal</html>", content_type="text/html")),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_is_no_registry_is_found_out_by_ourselves(
    provoked: Provoked, failure_id: str, step: Step
) -> None:
    async with asked.registry(step) as (adapter, server):
        found = await adapter.probe(login_at(server.authority))

    provoked(failure_id, found)


async def test_a_tag_that_somebody_moved_meanwhile(
    registry: str, engine: str, image: Image, provoked: Provoked
) -> None:
    login = login_at(registry)
    digest = await pushed(engine, image, login, "moved")
    assert isinstance(digest, str), digest
    other = Digest("sha256:" + "0" * 64)
    async with Http() as http:
        world = _world(Registry(http))
        world.login = login
        found = await confirmed(other, ImageRef(registry, "moved", "v1"), "ten-abc123", world)

    provoked("P15", found)


async def test_an_older_image_that_the_registry_has_no_more(
    registry: str, provoked: Provoked
) -> None:
    async with Http() as http:
        gone = Digest("sha256:" + "1" * 64)
        found = await Registry(http).retag(
            ImageRef(registry, "moved", "v1"), gone, login_at(registry)
        )

    provoked("D19", found)


def _world(registry: Registry) -> World:
    unasked: object = None
    return World(
        toolchain=unasked,  # type: ignore[arg-type]
        engine=unasked,  # type: ignore[arg-type]
        ahead=Idle(),
        api=unasked,  # type: ignore[arg-type]
        registry=registry,
        health=unasked,  # type: ignore[arg-type]
        clock=SystemClock(),
        emit=deaf,
        learn=lambda _secret: None,
        intend=lambda _intent: anyio.lowlevel.checkpoint(),
        answered=lambda _facts: anyio.lowlevel.checkpoint(),
    )
