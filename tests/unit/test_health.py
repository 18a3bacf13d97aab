"""One look at the tenant's public URL."""

import math

import pytest

from deployer.adapters.http import health
from deployer.adapters.http.client import Http
from deployer.adapters.http.health import PublicUrl
from deployer.model import Health
from tests.servers.raw_http import Pause, Request, Reset, Respond, Step, answer, raw_server

pytestmark = pytest.mark.anyio


async def look(respond: Respond | Step, path: str = "") -> Health:
    async with raw_server(respond) as server, Http() as http:
        return await PublicUrl(http).look(server.url + path)


@pytest.mark.parametrize(
    ("step", "seen"),
    [
        (answer(200, {"status": "healthy"}), Health(healthy=True, word="healthy")),
        (answer(200, {"status": "degraded", "why": 1}), Health(healthy=True, word="degraded")),
        (answer(200, {"status": "OK"}), Health(healthy=True, word="OK")),
        (answer(200, {"version": "1"}), Health(healthy=True, word="200")),
        (answer(200, b"ok", content_type="text/plain"), Health(healthy=True, word="200")),
        (answer(200, {"status": "unhealthy"}), Health(healthy=False, word="unhealthy")),
        (answer(200, {"status": "starting"}), Health(healthy=False, word="starting")),
        (answer(200, {"status": "\x1b[2Jdown"}), Health(healthy=False, word="down")),
        (answer(503, {"status": "unhealthy"}), Health(healthy=False, word="503")),
        (answer(500), Health(healthy=False, word="500")),
        (answer(404), Health(healthy=False, word="404")),
        (answer(401), Health(healthy=False, word="401")),
        (answer(204), Health(healthy=False, word="204")),
    ],
    ids=str,
)
async def test_the_answers_word_is_judged(step: Step, seen: Health) -> None:
    assert await look(step) == seen


async def test_the_second_route_is_asked_where_the_first_is_missing() -> None:
    def respond(request: Request) -> list[Step]:
        found = request.path == "/app/health"
        return [answer(200, {"status": "healthy"}) if found else answer(404)]

    async with raw_server(respond) as server, Http() as http:
        seen = await PublicUrl(http).look(server.url + "/app/?x=1")

    assert seen == Health(healthy=True, word="healthy")
    assert [request.path for request in server.requests] == ["/app/api/v1/health", "/app/health"]
    assert all("authorization" not in request.headers for request in server.requests)


async def test_the_second_route_is_not_asked_when_the_first_says_no() -> None:
    async with raw_server(answer(503)) as server, Http() as http:
        await PublicUrl(http).look(server.url)

    assert [request.path for request in server.requests] == ["/api/v1/health"]


async def test_a_redirect_is_no_health_and_is_not_followed() -> None:
    async with raw_server(answer(200, {"status": "healthy"})) as target:
        seen = await look(answer(301, location=target.url))

    assert seen == Health(healthy=False, word="301")
    assert target.connections == 0


@pytest.mark.parametrize(
    "step", [Reset(), b"", answer(200, b"ok")[:-1], answer(200, b" " * 2_000_000)]
)
async def test_a_broken_answer_is_no_health(step: Step) -> None:
    seen = await look(step)

    assert not seen.healthy
    assert seen.word.startswith("no answer: ")


async def test_a_silent_url_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_SECONDS", 0.1)

    assert await look(Pause(math.inf)) == Health(
        healthy=False, word="no answer: no whole answer within 0.1 s"
    )


@pytest.mark.parametrize("url", ["javascript:x", "", "https://u:PASSWORD@h", "http://"])
async def test_what_is_no_url_is_not_asked(url: str) -> None:
    async with Http() as http:
        seen = await PublicUrl(http).look(url)

    assert not seen.healthy
    assert "PASSWORD" not in seen.word
