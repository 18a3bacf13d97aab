"""The direct builder against several versions of a real registry."""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp
import anyio
import pytest

from deployer.adapters.clock import SystemClock
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.http.client import Http
from deployer.model import Image, Login, Secret
from deployer.names import Digest, ImageRef
from deployer.ports import ImageOrder
from deployer.sandbox.options import Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.refusal import Refused
from deployer.sandbox.shelf import Shelf
from deployer.sandbox.up import Sandbox, sandbox
from deployer.sandbox.workspace import sign_in
from tests.real.commands import CommandLine, processes_of
from tests.real.conftest import Raised
from tests.real.registries import RELEASES, registry_of
from tests.servers.torn import Door, door_before

pytestmark = [pytest.mark.real, pytest.mark.anyio]

OURS: Final = "this machine's"
SIZE: Final = 24_000_000  # bytes that do not compress
CUT: Final = 12_000_000
OTHER: Final = 6_000_000
LITTLE: Final = 100_000


@pytest.fixture(scope="module", params=[OURS, *RELEASES])
def versioned(
    request: pytest.FixtureRequest, raised: Raised, sandbox_of_session: Sandbox
) -> Iterator[Sandbox]:
    """A sandbox before the registry of one release; the engine is the session's."""
    if request.param == OURS:
        yield sandbox_of_session
        return
    cache = cache_root(os.environ)
    with tempfile.TemporaryDirectory(prefix="deployer-registry-") as name:
        folder = Path(name)
        try:
            program = anyio.run(registry_of, request.param, cache, folder, os.environ)
        except Refused as refused:
            pytest.skip(f"the registry of {request.param} cannot be had: {refused}")
        environ = {
            **os.environ,
            "DOCKER_HOST": sandbox_of_session.engine,
            # What is on PATH comes before what the sandbox would fetch.
            "PATH": f"{program.parent}:{os.environ['PATH']}",
        }
        options = Options(cache=cache, folder=folder, environ=environ, base_port=0, faults={})
        said: list[str] = []
        with raised.portal.wrap_async_context_manager(sandbox(options, said.append)) as running:
            assert any(str(program) in line for line in processes_of(folder))
            yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "big.bin").write_bytes(os.urandom(SIZE))
    (root / "Dockerfile").write_text('FROM debian:bookworm-slim\nCOPY big.bin /srv/\nCMD ["x"]\n')
    return root


class Bench:
    """A builder and a door before the registry."""

    def __init__(self, http: Http, door: Door, project: Path) -> None:
        self.door = door
        self._order = ImageOrder(
            project_root=project, dockerfile=Path("Dockerfile"), local_tag="versions:1"
        )
        self._builder = DirectBuilder(
            http,
            cupboard=Cupboard(project.parent / "cupboard"),
            clock=SystemClock(),
            base_registry=door.address,
        )

    async def build(self) -> None:
        image = await self._builder.build(self._order, lambda _: None)
        assert isinstance(image, Image), image

    async def push(self, repository: str) -> tuple[Digest, int]:
        """The digest, and how many bytes it took."""
        before = self.door.sent
        login = Login(registry=self.door.address, username="x", password=Secret("y"))
        target = ImageRef(self.door.address, repository, "v1")
        pushed = await self._builder.push("versions:1", target, login, lambda _: None)
        assert isinstance(pushed, str), pushed
        return pushed, self.door.sent - before


async def assert_whole(running: Sandbox, repository: str, digest: str, project: Path) -> None:
    """Each blob is what its digest says, and the engine that pulls it gets the file."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        shelf = Shelf(running.registry, session)
        manifest = json.loads(await shelf.blob(repository, f"manifests/{digest}", digest))
        for blob in (manifest["config"], *manifest["layers"]):
            await shelf.blob(repository, f"blobs/{blob['digest']}", blob["digest"])
        assert await shelf.digest(repository, "v1") == digest
    pulled = await pulled_file(running, f"{running.registry}/{repository}@{digest}", "/srv/big.bin")
    assert (
        hashlib.sha256(pulled).digest()
        == hashlib.sha256((project / "big.bin").read_bytes()).digest()
    )


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def pulled_file(running: Sandbox, image: str, path: str) -> bytes:
    connector = aiohttp.UnixConnector(running.engine.removeprefix("unix://"))
    async with aiohttp.ClientSession("http://engine", connector=connector) as engine:
        async with engine.post("/images/create", params={"fromImage": image}) as answer:
            assert b'"error"' not in await answer.read()
        async with engine.post("/containers/create", json={"Image": image}) as answer:
            container = (await answer.json())["Id"]
        try:
            async with engine.get(
                f"/containers/{container}/archive", params={"path": path}
            ) as answer:
                archive = await answer.read()
        finally:
            await (await engine.delete(f"/containers/{container}")).read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        content = tar.extractfile(tar.getmembers()[0])
        assert content is not None
        return content.read()


async def test_a_cold_push_comes_back_whole_and_mounts_elsewhere(
    versioned: Sandbox, project: Path
) -> None:
    async with Http(kept_connections=4) as http, door_before(versioned.registry) as door:
        bench = Bench(http, door, project)
        await bench.build()

        first, cold = await bench.push("versions/one")
        second, mounted = await bench.push("versions/two")

    # The base is mounted out of library/debian, so only our own layer is sent.
    assert SIZE <= cold < SIZE * 1.01
    assert mounted < LITTLE
    assert second == first
    await assert_whole(versioned, "versions/two", second, project)


async def test_a_push_whose_connection_broke_sends_no_other_layer_again(
    versioned: Sandbox, project: Path
) -> None:
    (project / "small.bin").write_bytes(os.urandom(OTHER))
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("COPY small.bin /srv/\n")
    async with Http(kept_connections=4) as http, door_before(versioned.registry) as door:
        bench = Bench(http, door, project)
        await bench.build()
        door.tears_at = CUT

        digest, sent = await bench.push("versions/torn")

    assert door.torn == 1
    # These registries forget an upload that broke off, and it begins again.
    assert SIZE + OTHER + CUT <= sent < (SIZE + OTHER + CUT) * 1.02
    await assert_whole(versioned, "versions/torn", digest, project)


@pytest.mark.parametrize("builder", ["direct", "engine"])
def test_a_whole_deploy_answers(
    builder: str, versioned: Sandbox, built_project: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(built_project, project, symlinks=True)
    sign_in(project, versioned.api_url, versioned.api_token)
    env = {**os.environ, **versioned.environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    env.pop("DATABASE_URL", None)

    ended = CommandLine(project, env)("deploy", "--builder", builder)

    assert ended.code == 0, ended.talk
    assert anyio.run(page, ended.document["url"]) == "systemprompt 1.0.0\n"


async def page(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return await answer.text()
