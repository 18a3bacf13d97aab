"""What a real engine and a real registry are spared when nothing changed, counted at their doors."""

import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.docker.again import Before
from deployer.adapters.docker.engine import Docker
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.http.client import Http
from deployer.adapters.leaks import Leaks
from deployer.adapters.registry.client import Registry
from deployer.failures import Failure
from deployer.model import Image, Login, Secret
from deployer.names import Digest, ImageRef
from deployer.ports import ImageOrder
from tests.servers.listening import Heard, engine_door, registry_door

pytestmark = [pytest.mark.real, pytest.mark.anyio]

MEGABYTE = 1_000_000
DOCKERFILE = "FROM debian:bookworm-slim\nCOPY app /app/bin/\nCOPY services/ /app/services/\n"


@dataclass
class Bench:
    """One project at one engine, whose images go to one registry."""

    project: Path
    docker: Docker
    engine: Heard
    registry: Heard
    repository: str
    runs: int = 0

    @property
    def local(self) -> str:
        return f"{self.repository}:{self.runs}"

    def target(self, repository: str | None = None) -> ImageRef:
        return ImageRef(self.registry.address, repository or self.repository, f"t{self.runs}")

    async def build(self) -> Image:
        self.runs += 1
        order = ImageOrder(
            project_root=self.project, dockerfile=Path("Dockerfile"), local_tag=self.local
        )
        image = await self.docker.build(order, lambda _: None)
        assert isinstance(image, Image), image
        return image

    async def push(self, repository: str | None = None) -> Digest:
        address = self.registry.address
        login = Login(registry=address, username="x", password=Secret("any-password"))
        digest = await self.docker.push(self.local, self.target(repository), login, lambda _: None)
        assert not isinstance(digest, Failure), digest
        return digest


@pytest.fixture
async def bench(engine: str, registry: str, tmp_path: Path) -> AsyncIterator[Bench]:
    project = tmp_path / "project"
    (project / "services").mkdir(parents=True)
    (project / "services/a.yaml").write_text("a: 1")
    (project / "app").write_bytes(os.urandom(5 * MEGABYTE))
    (project / "Dockerfile").write_text(DOCKERFILE)
    repository = f"deployer-test/{secrets.token_hex(6)}"
    async with (
        engine_door(engine, tmp_path / "e.sock") as at_engine,
        registry_door(registry) as at_registry,
        Http() as http,
    ):
        # With a secret to look for, the image's history is asked as well.
        leaks = Leaks([Secret("correct-horse-battery")])
        docker = Docker(
            context=BuildContext(leaks=leaks),
            endpoint=at_engine.address,
            leaks=leaks,
            before=Before(KnownImages(tmp_path / "images"), Registry(http)),
        )
        here = Bench(project, docker, at_engine, at_registry, repository)
        yield here
        names = [f"{repository}:{run + 1}" for run in range(here.runs)]
        await docker.forget([*names, *(f"{at_registry.address}/{name}" for name in names)])


def cleared(heard: Heard) -> None:
    heard.requests.clear()
    heard.received = 0


async def test_nothing_is_sent_for_an_image_that_is_there_already(bench: Bench) -> None:
    first, pushed = await bench.build(), await bench.push()
    cleared(bench.engine)
    cleared(bench.registry)

    second, again = await bench.build(), await bench.push()

    assert second.image_id == first.image_id
    assert await bench.docker.image_id(bench.local) == first.image_id
    assert again == pushed
    assert (bench.engine.count("/build"), bench.engine.count("/push")) == (0, 0)
    assert bench.engine.received < 10_000
    assert [line.split()[0] for line in bench.registry.requests] == ["GET", "PUT"]
    assert bench.registry.received < 10_000


async def test_a_changed_source_is_sent_and_its_layer_pushed(bench: Bench) -> None:
    first, pushed = await bench.build(), await bench.push()
    cleared(bench.engine)
    cleared(bench.registry)
    (bench.project / "services/a.yaml").write_text("a: 2")

    second, again = await bench.build(), await bench.push()

    assert second.image_id != first.image_id
    assert again != pushed
    assert (bench.engine.count("/build"), bench.engine.count("/push")) == (1, 1)
    assert bench.registry.received < MEGABYTE


async def test_an_image_that_the_engine_has_lost_is_built_again(bench: Bench) -> None:
    first = await bench.build()
    await bench.docker.forget([bench.local])
    assert await bench.docker.image_id(first.image_id) is None
    cleared(bench.engine)

    second = await bench.build()

    assert bench.engine.count("/build") == 1
    assert await bench.docker.image_id(bench.local) == second.image_id


async def test_another_repository_gets_the_image_by_a_push(bench: Bench) -> None:
    await bench.build()
    pushed = await bench.push()
    cleared(bench.engine)

    again = await bench.push(f"{bench.repository}-other")

    assert bench.engine.count("/push") == 1
    assert again == pushed
