"""Machines where no engine can be had: the direct builder takes over, and each part says why."""

import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from deployer.sandbox.places import cache_root
from deployer.sandbox.workspace import sign_in
from tests.real import bare
from tests.real.commands import CommandLine
from tests.real.conftest import Raised

pytestmark = pytest.mark.real

SOMEBODY: Final = 65_534
UNSET: Final = "no address"
URL_OF: Final = "ten-abc123"
STDOUT: Final = -2  # subprocess.STDOUT
UP_SECONDS: Final = 120
DEMO_SECONDS: Final = 280


def in_a_bare_place(*how: str) -> tuple[str, ...]:
    """What to put before a command line."""
    return (sys.executable, "-I", bare.__file__, *how, "--")


@pytest.fixture(scope="module", autouse=True)
def rights_to_lose() -> None:
    """Rights can only be taken from who has them: root, outside a container that took them."""
    done = anyio.run(partial(anyio.run_process, [*in_a_bare_place(), "true"], check=False))
    if done.returncode != 0:
        pytest.skip(f"no bare place can be made here: {done.stderr.decode()[-200:]}")


def without_docker(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return {**kept, **more}


# -- A deploy, wherever its engine is not


@asynccontextmanager
async def _sandbox(folder: Path, said: list[str]) -> AsyncIterator[dict[str, Any]]:
    argv = [*in_a_bare_place(), sys.executable, "-m", "deployer.sandbox"]
    argv += ["up", "--json", "--port", "0", "--folder", str(folder)]
    env = without_docker(DOCKER_CONFIG=str(folder))
    async with await anyio.open_process(argv, env=env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with anyio.fail_after(UP_SECONDS):
            lines = BufferedByteReceiveStream(process.stdout)
            described = json.loads(await lines.receive_until(b"\n", 1 << 20))
            async for text in TextReceiveStream(process.stderr):
                said.append(text)
                if "Serving" in text:
                    break
        yield described
        process.terminate()


@pytest.fixture(scope="module")
def machine(raised: Raised, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A sandbox on a machine without an engine, as it describes itself; with what it said."""
    said: list[str] = []
    opened = _sandbox(tmp_path_factory.mktemp("bare"), said)
    with raised.portal.wrap_async_context_manager(opened) as described:
        yield {**described, "said": "".join(said)}


@contextmanager
def nothing_listens(socket_path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
    yield


@contextmanager
def somebody_elses(socket_path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        os.chown(socket_path, SOMEBODY, SOMEBODY)
        socket_path.chmod(0o600)
        listener.listen()
        yield


@contextmanager
def nothing(_socket_path: Path) -> Iterator[None]:
    yield


# What DOCKER_HOST leads to, and what of it is told.
PLACES: Final[Mapping[str, tuple[Callable[[Path], AbstractContextManager[None]], str]]] = {
    UNSET: (nothing, "DOCKER_HOST is not set"),
    "no socket": (nothing, "No such file"),
    "dead socket": (nothing_listens, "refused"),
    "forbidden socket": (somebody_elses, "ermission denied"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_deploy_goes_the_direct_way_and_says_why(
    place: str, machine: dict[str, Any], built_project: Path, tmp_path: Path
) -> None:
    lead_to, why = PLACES[place]
    project, at = tmp_path / "project", tmp_path / "d.sock"
    shutil.copytree(built_project, project, symlinks=True)
    env = without_docker(**machine["environment"], DOCKER_CONFIG=str(tmp_path))
    env |= {"XDG_STATE_HOME": str(tmp_path / "state")}
    env |= {"DOCKER_HOST": f"unix://{at}"} if place != UNSET else {}
    env.pop("DATABASE_URL", None)
    sign_in(project, env["SYSTEMPROMPT_API_URL"], env["SYSTEMPROMPT_API_TOKEN"])
    cli = CommandLine(project, env, prefix=in_a_bare_place("powerless"))

    with lead_to(at):
        examined = cli("doctor")
        deployed = cli("deploy")

    assert "DEPLOYER_BUILDER" not in machine["environment"]
    (told,) = [each for each in examined.document["checks"] if each["name"] == "engine"]
    assert (examined.code, told["level"]) == (0, "pass"), examined.document
    assert told["text"].startswith("not needed: no engine answers (")
    assert why in told["text"]
    assert (deployed.code, deployed.document["state"]) == (0, "done"), deployed.talk
    (line,) = [line for line in deployed.talk.splitlines() if " builder direct: " in line]
    assert "no engine answers (" in line
    assert why in line
    page = anyio.run(_page, machine["urls"][URL_OF])
    assert f"no container can run here; checked {deployed.document['digest']}" in page


async def _page(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()


def test_a_sandbox_says_that_it_cannot_run_containers(machine: dict[str, Any]) -> None:
    assert "A private engine cannot run here" in machine["said"]
    assert "Without an engine: images are checked instead of run" in machine["said"]


# -- make demo


ENGINE: Final = "programs/docker.io"


@pytest.fixture
def downloads(tmp_path: Path, machine: dict[str, Any]) -> Path:
    """A cache folder with what sandboxes have downloaded so far, for one demo alone."""
    theirs, ours = cache_root(os.environ), cache_root({"XDG_CACHE_HOME": str(tmp_path)})
    (ours / "programs").mkdir(parents=True)
    for part in ("base-image.tar", "programs/docker-registry", ENGINE):
        if (theirs / part).exists():
            (ours / part).symlink_to(theirs / part)
    return tmp_path


async def _demo(how: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
    venv = Path(sys.prefix)
    # The environment that runs this test is the one that `make setup` made.
    make = ["make", "demo", f"VENV={venv}", "-o", str(venv / ".made")]
    with anyio.fail_after(DEMO_SECONDS):
        done = await anyio.run_process(
            [*in_a_bare_place(*how), *make],
            cwd=Path(__file__).parents[2],
            env=env,
            check=False,
            stderr=STDOUT,
        )
    return done.returncode, done.stdout.decode()


def assert_whole_story(code: int, said: str) -> None:
    assert code == 0, said
    assert "Without an engine: images are checked instead of run" in said
    assert said.count("builder direct: no engine answers (") == 2
    assert said.count("no container can run here; checked sha256:") == 3
    assert "All answers were as expected. Nothing is left running." in said


def test_the_demo_where_no_engine_can_start(downloads: Path) -> None:
    code, said = anyio.run(_demo, (), without_docker(XDG_CACHE_HOME=str(downloads)))

    assert_whole_story(code, said)
    assert "the kernel gives this user no namespaces" in said


def test_the_demo_offline_where_no_engine_was_ever_fetched(downloads: Path) -> None:
    (cache_root({"XDG_CACHE_HOME": str(downloads)}) / ENGINE).unlink(missing_ok=True)

    code, said = anyio.run(_demo, ("offline",), without_docker(XDG_CACHE_HOME=str(downloads)))

    assert_whole_story(code, said)
    installed = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert installed or "Fetching docker.io from the distribution failed" in said


def test_the_demo_of_an_ordinary_user_who_has_nothing_yet(tmp_path: Path) -> None:
    code, said = anyio.run(_demo, ("ordinary",), without_docker(XDG_CACHE_HOME=str(tmp_path)))

    assert_whole_story(code, said)
    assert "only root can run a private one" in said
    assert (cache_root({"XDG_CACHE_HOME": str(tmp_path)}) / "base-image.tar").exists()


def test_the_demo_where_docker_host_leads_nowhere(downloads: Path) -> None:
    env = without_docker(XDG_CACHE_HOME=str(downloads), DOCKER_HOST=f"unix://{downloads}/no.sock")

    code, said = anyio.run(_demo, (), env)

    assert_whole_story(code, said)
    assert "Start that engine, or unset DOCKER_HOST" in said
