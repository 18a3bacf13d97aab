"""The engine's client comes when there is an engine, and not before."""

import json
import sys
from collections.abc import Callable
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
from deployer.ports import Engine
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


async def test_an_engine_that_answers_is_asked_by_its_client() -> None:
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


async def test_a_socket_that_accepts_is_left_to_the_client(tmp_path: Path) -> None:
    async def serve(stream: SocketStream) -> None:
        await stream.aclose()

    async with (
        await anyio.create_unix_listener(tmp_path / "s") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        assert await knock.knock(f"unix://{tmp_path}/s") is None
        tasks.cancel_scope.cancel()


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
