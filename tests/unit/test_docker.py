"""The engine's adapter, against a stand-in on loopback."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.docker.engine import Docker, Patience
from deployer.events import Progress, Transient, Warned
from deployer.failures import Failure, Kind
from deployer.model import Image, Login, Secret
from deployer.names import ImageRef, parse_image_id
from deployer.ports import Engine, EngineInfo, ImageOrder
from deployer.states.flow import State
from tests.servers.engine import DIGEST, IMAGE_ID, StandIn, image, serving
from tests.servers.raw_http import Request, answer, raw_server

pytestmark = pytest.mark.anyio

LOCAL = "deployer-local/run:1"
TARGET = ImageRef("registry.test:5000", "team/app", "t1")
LOGIN = Login(registry="registry.test:5000", username="x", password=Secret("s3cret-token"))
BUILT = [json.dumps({"stream": "Step 1/1 : FROM debian\n"}), json.dumps({"aux": {"ID": IMAGE_ID}})]
PUSHED = [json.dumps({"aux": {"Tag": "t1", "Digest": DIGEST, "Size": 1}})]
SHORT = Patience(ping=0.2, build=0.3, push=0.3)


@pytest.fixture
def order(tmp_path: Path) -> ImageOrder:
    (tmp_path / "app").write_text("x" * 3_000_000)
    (tmp_path / "Dockerfile").write_text("FROM debian\nCOPY app /app\n")
    return ImageOrder(project_root=tmp_path, dockerfile=Path("Dockerfile"), local_tag=LOCAL)


def docker(endpoint: str | None, patience: Patience = SHORT) -> Docker:
    return Docker(context=BuildContext(), endpoint=endpoint, patience=patience)


def ignore(_event: Transient) -> None:
    pass


def kind(outcome: object) -> Kind:
    assert isinstance(outcome, Failure), outcome
    return outcome.kind


def test_it_fits_the_port() -> None:
    engine: Engine = docker("tcp://127.0.0.1:1")

    assert isinstance(engine, Docker)


async def test_a_build_that_just_ends_is_a_failure_though_an_image_has_the_name(
    order: ImageOrder,
) -> None:
    # As a killed engine leaves it: the tag is that of an earlier build.
    said = [json.dumps({"stream": "Step 1/1 : FROM debian\n"})]
    async with serving(StandIn(lines=said, images={LOCAL: image()})) as engine:
        outcome = await docker(engine.endpoint).build(order, ignore)

    assert kind(outcome) is Kind.ENGINE_DIED


# -- Is there an engine?


async def test_ping_says_who_answers() -> None:
    async with serving(StandIn()) as engine:
        assert await docker(engine.endpoint).ping() == EngineInfo(
            endpoint=engine.endpoint, version="20.10.24", vendor="Docker Engine"
        )


async def test_ping_knows_podman() -> None:
    version = {
        "Version": "4.3.1",
        "ApiVersion": "1.41",
        "Components": [{"Name": "Podman Engine"}],
    }
    async with serving(StandIn(version=version)) as engine:
        info = await docker(engine.endpoint).ping()

    assert isinstance(info, EngineInfo)
    assert info.vendor == "Podman Engine"


@pytest.mark.parametrize("version", [{}, [], 7, {"ApiVersion": "1.41"}, "docker"])
async def test_an_answer_that_is_no_engines_is_garbage(version: object) -> None:
    async with serving(StandIn(version=version)) as engine:
        assert kind(await docker(engine.endpoint).ping()) is Kind.ENGINE_GARBAGE


async def test_an_engine_that_never_answers_is_given_up() -> None:
    async with serving(StandIn(silent=True)) as engine:
        with anyio.fail_after(2):
            assert kind(await docker(engine.endpoint).ping()) is Kind.ENGINE_SILENT


async def test_no_socket_and_a_dead_one_mean_that_the_engine_is_down(tmp_path: Path) -> None:
    async with await anyio.create_unix_listener(tmp_path / "dead"):
        pass

    for name in ("none", "dead"):
        failure = await docker(f"unix://{tmp_path}/{name}").ping()
        assert kind(failure) is Kind.ENGINE_DOWN
        assert isinstance(failure, Failure)
        assert f"{tmp_path}/{name}" in failure.cause
    assert kind(await docker("tcp://127.0.0.1:1").ping()) is Kind.ENGINE_DOWN


async def test_a_file_in_the_sockets_place_is_a_wrong_address(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    outcome = await docker(f"unix://{tmp_path}/file/below").ping()

    assert kind(outcome) is Kind.ENGINE_CONTEXT


@pytest.mark.parametrize(
    "endpoint",
    ["nonsense", "ftp://h", "tcp://192.0.2.1:2375", "http://engine.test", "ssh://u@192.0.2.1"],
)
async def test_an_address_that_cannot_be_used_safely_is_refused(endpoint: str) -> None:
    with anyio.fail_after(2):
        assert kind(await docker(endpoint).ping()) is Kind.ENGINE_CONTEXT


async def test_without_any_address_the_engine_is_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    monkeypatch.setattr("aiodocker.docker._sock_search_paths", [tmp_path / "none"])

    outcome = await docker(None).ping()

    assert kind(outcome) is Kind.ENGINE_DOWN


async def test_a_broken_docker_context_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")

    assert kind(await docker(None).ping()) is Kind.ENGINE_CONTEXT


async def test_no_password_of_the_address_is_shown() -> None:
    async with serving(StandIn()) as engine:
        info = await docker(f"tcp://user:pw@127.0.0.1:{engine.port}").ping()

    assert isinstance(info, EngineInfo)
    assert info.endpoint == engine.endpoint


# -- Build


async def test_a_build_ends_with_the_engines_image(order: ImageOrder) -> None:
    async with serving(StandIn(lines=BUILT, images={LOCAL: image()})) as engine:
        outcome = await docker(engine.endpoint).build(order, ignore)

    assert outcome == Image(
        image_id=parse_image_id(IMAGE_ID),
        local_tag=LOCAL,
        os="linux",
        architecture="amd64",
        size=42,
    )
    asked = next(line for line in engine.asked if "/build?" in line)
    for part in ("platform=linux/amd64", "dockerfile=Dockerfile", "forcerm=1", "rm=1"):
        assert part in asked
    assert engine.received > 3_000_000


async def test_a_build_tells_how_far_the_upload_is(order: ImageOrder) -> None:
    events: list[Transient] = []

    async with serving(StandIn(lines=BUILT, images={LOCAL: image()})) as engine:
        await docker(engine.endpoint).build(order, events.append)

    upload = [event for event in events if isinstance(event, Progress) and event.what == "upload"]
    assert upload[-1].done == upload[-1].total == engine.received


async def test_what_stays_out_of_the_context_is_told(order: ImageOrder) -> None:
    (order.project_root / "Dockerfile").write_text("FROM debian\nCOPY . /app\n")
    (order.project_root / ".env").touch()
    events: list[Transient] = []

    async with serving(StandIn(lines=BUILT, images={LOCAL: image()})) as engine:
        await docker(engine.endpoint).build(order, events.append)

    assert [".env" in event.text for event in events if isinstance(event, Warned)] == [True]


async def test_a_failing_context_asks_no_engine(order: ImageOrder) -> None:
    (order.project_root / "app").unlink()

    async with serving(StandIn()) as engine:
        assert kind(await docker(engine.endpoint).build(order, ignore)) is Kind.SOURCE_MISSING

    assert engine.asked == []


async def test_an_image_for_another_machine_is_refused(order: ImageOrder) -> None:
    found = {LOCAL: image(architecture="arm64")}
    async with serving(StandIn(lines=BUILT, images=found)) as engine:
        outcome = await docker(engine.endpoint).build(order, ignore)

    assert kind(outcome) is Kind.WRONG_PLATFORM


@pytest.mark.parametrize("found", [{}, {LOCAL: image(f"sha256:{'2' * 64}")}])
async def test_the_image_of_an_earlier_stage_is_no_success(
    order: ImageOrder, found: dict[str, dict[str, object]]
) -> None:
    async with serving(StandIn(lines=BUILT, images=found)) as engine:
        assert kind(await docker(engine.endpoint).build(order, ignore)) is Kind.ENGINE_DIED


async def test_a_silent_build_is_given_up(order: ImageOrder) -> None:
    async with serving(StandIn(lines=BUILT, end="hang")) as engine:
        with anyio.fail_after(3):
            assert kind(await docker(engine.endpoint).build(order, ignore)) is Kind.ENGINE_SILENT


@pytest.mark.parametrize(
    "line", [b"not json", b'{"stream": "\xff"}', b"x" * 600_000, b"[" * 5_000, b"7"]
)
async def test_garbage_in_the_stream_is_a_failure(order: ImageOrder, line: bytes) -> None:
    async with serving(StandIn(lines=[BUILT[0], line])) as engine:
        outcome = await docker(engine.endpoint).build(order, ignore)

    assert kind(outcome) is Kind.ENGINE_GARBAGE


async def test_the_last_words_of_a_step_are_kept_even_without_a_line_end(
    order: ImageOrder,
) -> None:
    lines = ['{"stream": "last "}', '{"stream": "words"}', '{"error": "exit code: 2"}']
    async with serving(StandIn(lines=lines)) as engine:
        outcome = await docker(engine.endpoint).build(order, ignore)

    assert isinstance(outcome, Failure)
    assert outcome.details == ("last words",)


async def test_a_cancelled_build_lets_the_engine_know_at_once(order: ImageOrder) -> None:
    async with serving(StandIn(lines=BUILT[:1], end="hang")) as engine:
        with anyio.move_on_after(0.2) as scope:
            await docker(engine.endpoint, Patience()).build(order, ignore)
        assert scope.cancelled_caught
        with anyio.fail_after(1):
            await engine.gone.wait()


async def test_an_engine_that_dies_while_it_reads_the_context_is_not_down(
    order: ImageOrder,
) -> None:
    async with dying() as endpoint:
        outcome = await docker(endpoint).build(order, ignore)

    assert kind(outcome) is Kind.ENGINE_DIED


@asynccontextmanager
async def dying() -> AsyncIterator[str]:
    """An engine that tells its version, and goes away whenever more is asked."""
    version = b'{"ApiVersion": "1.41", "Version": "1"}'
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            if b"/version" in await stream.receive():
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                await stream.send(head + b"%d\r\n\r\n%s" % (len(version), version))
                await stream.receive()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"tcp://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


# -- Push


async def test_a_push_ends_with_the_digest() -> None:
    async with serving(StandIn(lines=PUSHED, images={LOCAL: image()})) as engine:
        assert await docker(engine.endpoint).push(LOCAL, TARGET, LOGIN, ignore) == DIGEST

    assert f"POST /images/{LOCAL}/tag?repo=registry.test:5000/team/app&tag=t1" in engine.asked
    assert "POST /images/registry.test:5000/team/app/push?tag=t1" in engine.asked
    assert engine.logins == [
        {"username": "x", "password": "s3cret-token", "serveraddress": "registry.test:5000"}
    ]


async def test_an_image_that_is_gone_is_told_before_the_push() -> None:
    async with serving(StandIn()) as engine:
        outcome = await docker(engine.endpoint).push(LOCAL, TARGET, LOGIN, ignore)

    assert isinstance(outcome, Failure)
    assert outcome.kind is Kind.IMAGE_NOT_LOCAL
    assert outcome.resume_at is State.IMAGING
    assert not any("push" in line for line in engine.asked)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_not_even_with_the_login(status: int) -> None:
    async with raw_server(answer(200, {})) as stranger:

        def respond(request: Request) -> list[bytes]:
            if request.method == "GET":
                known = {"Version": "1", "ApiVersion": "1.41"}
                return [answer(200, image() | known)]
            if "/push" in request.path:
                return [answer(status, location=f"{stranger.url}/push")]
            return [answer(201)]

        async with raw_server(respond, keep=True) as engine:
            endpoint = f"tcp://{engine.authority}"
            outcome = await docker(endpoint).push(LOCAL, TARGET, LOGIN, ignore)

    assert stranger.requests == []
    assert kind(outcome) is Kind.ENGINE_CONTEXT
    assert stranger.authority in outcome.cause  # type: ignore[union-attr]  # a Failure


async def test_a_silent_push_has_stalled() -> None:
    lines = [json.dumps({"status": "Preparing", "id": "a"})]
    async with serving(StandIn(lines=lines, end="hang", images={LOCAL: image()})) as engine:
        with anyio.fail_after(3):
            outcome = await docker(engine.endpoint).push(LOCAL, TARGET, LOGIN, ignore)
        assert kind(outcome) is Kind.PUSH_STALLED
        with anyio.fail_after(1):
            await engine.gone.wait()


async def test_a_cancelled_push_lets_the_engine_know_at_once() -> None:
    async with serving(StandIn(end="hang", images={LOCAL: image()})) as engine:
        with anyio.move_on_after(0.2) as scope:
            await docker(engine.endpoint, Patience()).push(LOCAL, TARGET, LOGIN, ignore)
        assert scope.cancelled_caught
        with anyio.fail_after(1):
            await engine.gone.wait()


async def test_push_failures_belong_to_pushing(tmp_path: Path) -> None:
    outcome = await docker(f"unix://{tmp_path}/none").push(LOCAL, TARGET, LOGIN, ignore)

    assert isinstance(outcome, Failure)
    assert (outcome.phase, outcome.kind) == (State.PUSHING, Kind.ENGINE_DOWN)


# -- Local names


async def test_an_id_is_found_or_not_there() -> None:
    async with serving(StandIn(images={LOCAL: image()})) as engine:
        assert await docker(engine.endpoint).image_id(LOCAL) == IMAGE_ID
        assert await docker(engine.endpoint).image_id("none:1") is None


@pytest.mark.parametrize(
    "name",
    ["", "x/../../containers/prune?a=", "../info#", "a b", "x?y", "x%2f..", "./x", "x/..", "x\n"],
)
async def test_a_hostile_name_never_reaches_the_engine(name: str, order: ImageOrder) -> None:
    hostile = ImageOrder(
        project_root=order.project_root, dockerfile=order.dockerfile, local_tag=name
    )
    async with serving(StandIn()) as engine:
        one = docker(engine.endpoint)
        assert kind(await one.image_id(name)) is Kind.BAD_REFERENCE
        assert kind(await one.push(name, TARGET, LOGIN, ignore)) is Kind.BAD_REFERENCE
        assert kind(await one.build(hostile, ignore)) is Kind.BAD_REFERENCE
        await one.forget([name])

    assert engine.asked == []


async def test_forgetting_goes_on_past_a_name_that_is_gone(tmp_path: Path) -> None:
    async with serving(StandIn(images={LOCAL: image(), str(TARGET): image()})) as engine:
        await docker(engine.endpoint).forget(["none:1", LOCAL, str(TARGET)])
        assert engine.images == {}

    await docker(f"unix://{tmp_path}/none").forget([LOCAL])  # says nothing, does nothing
