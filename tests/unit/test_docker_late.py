"""The engine's client comes when there is an engine, and not before."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiodocker.docker
import anyio
import pytest
from anyio.abc import SocketStream

from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.docker import knock
from deployer.adapters.docker.engine import Docker
from deployer.adapters.docker.late import LateEngine
from deployer.failures import Failure, Kind
from deployer.ports import Engine, EngineInfo, ImageOrder
from tests.servers.engine import StandIn, serving

pytestmark = pytest.mark.anyio

ASKING = """
import anyio, sys
from pathlib import Path
from deployer.model import Secret
from deployer.settings.values import Settings
from deployer.wiring import wired

settings = Settings(api_url="http://127.0.0.1:1", api_token=Secret("t"), state_dir=Path(sys.argv[1]),
                    environment={}, docker_host=sys.argv[2])

async def main():
    adapters = wired(settings)
    print((await adapters.engine.ping()).kind.value)
    await adapters.aclose()

anyio.run(main)
print(sorted({"aiodocker", "aiohttp"}.intersection(sys.modules)))
"""


@pytest.fixture
def nobody_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without a docker configuration, and no variables of docker's."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def unneeded() -> Engine:
    pytest.fail("the client was loaded")


def docker(endpoint: str | None) -> Docker:
    return Docker(context=BuildContext(), endpoint=endpoint)


async def test_where_nobody_answers_nothing_of_the_client_is_imported(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", ASKING, str(tmp_path), f"unix://{tmp_path}/none"]

    ended = await anyio.run_process(argv)

    assert ended.stdout.decode().split("\n") == ["I01", "[]", ""]


async def test_an_engine_on_the_network_is_asked_by_its_client() -> None:
    async with serving(StandIn()) as engine:
        late = LateEngine(engine.endpoint, lambda: docker(engine.endpoint))
        assert await late.ping() == await docker(engine.endpoint).ping()


def without_socket(place: Path) -> str:
    return f"unix://{place}/none"


def a_plain_file(place: Path) -> str:
    (place / "file").touch()
    return f"unix://{place}/file"


def below_a_file(place: Path) -> str:
    return f"{a_plain_file(place)}/below"


def too_long(place: Path) -> str:
    return f"unix://{place}/{'x' * 200}"


@pytest.mark.parametrize("make", [without_socket, a_plain_file, below_a_file, too_long])
async def test_the_knock_says_what_the_client_would_say(
    make: Callable[[Path], str], tmp_path: Path
) -> None:
    endpoint = make(tmp_path)

    said = await LateEngine(endpoint, unneeded).ping()

    assert isinstance(said, Failure)
    assert said == await docker(endpoint).ping()


@asynccontextmanager
async def answering(place: Path, status: int, body: bytes) -> AsyncIterator[str]:
    """A socket that gives each request one answer; the endpoint it is at."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await stream.receive()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                await stream.send(head.encode() + body)

    async with (
        await anyio.create_unix_listener(place / "s") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield f"unix://{place}/s"
        tasks.cancel_scope.cancel()


async def test_an_engine_on_this_machine_tells_who_it_is_without_its_client(tmp_path: Path) -> None:
    version = {"Version": "20.10.24", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}

    async with answering(tmp_path, 200, json.dumps(version).encode()) as endpoint:
        found = await LateEngine(endpoint, unneeded).ping()

        assert found == EngineInfo(
            endpoint=endpoint, version="20.10.24", vendor="Docker Engine", platform="linux/amd64"
        )
        assert found == await docker(endpoint).ping()


async def test_an_engine_on_this_machine_tells_where_its_images_are(tmp_path: Path) -> None:
    info = {"DockerRootDir": str(tmp_path)}

    async with answering(tmp_path, 200, json.dumps(info).encode()) as endpoint:
        assert await LateEngine(endpoint, unneeded).data_root() == tmp_path


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"message": "no"}'),
        (200, b"[]"),
        (200, b'{"Version": "1"}'),
        (200, b"{"),
        (302, b""),
    ],
)
async def test_what_answers_something_else_is_left_to_the_client(
    status: int, body: bytes, tmp_path: Path
) -> None:
    async with answering(tmp_path, status, body) as endpoint:
        found = await LateEngine(endpoint, lambda: docker(endpoint)).ping()

        assert isinstance(found, Failure)
        assert found == await docker(endpoint).ping()


async def test_the_client_is_loaded_while_cargo_runs() -> None:
    loaded: list[Docker] = []

    def load() -> Docker:
        loaded.append(docker(None))
        return loaded[-1]

    late = LateEngine(None, load)
    order = ImageOrder(project_root=Path(), dockerfile=Path("Dockerfile"), local_tag="x:1")
    ahead = late.ahead(order, frozenset(), nowhere, lambda _: None)
    assert loaded == []

    await ahead.work()
    await ahead.finish()
    await late.forget([])

    assert len(loaded) == 1


async def test_a_client_that_cannot_be_loaded_spoils_nothing_yet() -> None:
    def load() -> Docker:
        raise ImportError("aiodocker")

    order = ImageOrder(project_root=Path(), dockerfile=Path("Dockerfile"), local_tag="x:1")
    await LateEngine(None, load).ahead(order, frozenset(), nowhere, lambda _: None).work()


async def nowhere() -> None:
    """Nobody knows yet where the image goes."""


# -- Nobody named an engine


def test_both_look_for_the_same_sockets() -> None:
    assert list(knock.SOCKETS) == aiodocker.docker._sock_search_paths


async def test_without_any_socket_there_is_no_engine(
    nobody_named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knock, "SOCKETS", [nobody_named / "none"])
    monkeypatch.setattr("aiodocker.docker._sock_search_paths", [nobody_named / "none"])

    said = await LateEngine(None, unneeded).ping()

    assert isinstance(said, Failure)
    assert said.kind is Kind.ENGINE_DOWN
    assert said == await docker(None).ping()


async def test_the_default_context_names_nobody(
    nobody_named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knock, "SOCKETS", [nobody_named / "none"])
    (nobody_named / ".docker").mkdir()
    for config in ({}, {"currentContext": None}, {"currentContext": "default"}):
        (nobody_named / ".docker/config.json").write_text(json.dumps(config))
        assert isinstance(await knock.knock(None), Failure)


@pytest.mark.parametrize("config", ['{"currentContext": "colima"}', "{", "[]"])
async def test_what_a_context_names_only_the_client_knows(
    config: str, nobody_named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knock, "SOCKETS", [nobody_named / "none"])
    (nobody_named / ".docker").mkdir()
    (nobody_named / ".docker/config.json").write_text(config)

    assert await knock.knock(None) is None


@pytest.mark.parametrize("name", ["DOCKER_HOST", "DOCKER_CONTEXT"])
async def test_what_a_variable_names_only_the_client_knows(
    name: str, nobody_named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knock, "SOCKETS", [nobody_named / "none"])
    monkeypatch.setenv(name, "elsewhere")

    assert await knock.knock(None) is None
