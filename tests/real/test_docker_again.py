"""What a real engine and a real registry are spared when nothing changed, counted at their doors."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployer.adapters.clock import SystemClock
from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.layers import Layers
from deployer.adapters.docker.again import Before
from deployer.adapters.docker.engine import Docker
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.docker.loading import Workshop
from deployer.adapters.http.client import Http
from deployer.adapters.leaks import Leaks
from deployer.adapters.registry.client import Registry
from deployer.failures import Failure, Kind
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
        image = await self.tried()
        assert isinstance(image, Image), image
        return image

    async def tried(self) -> Image | Failure:
        self.runs += 1
        order = ImageOrder(
            project_root=self.project, dockerfile=Path("Dockerfile"), local_tag=self.local
        )
        return await self.docker.build(order, lambda _: None)

    async def push(self, repository: str | None = None) -> Digest:
        address = self.registry.address
        login = Login(registry=address, username="x", password=Secret("any-password"))
        digest = await self.docker.push(self.local, self.target(repository), login, lambda _: None)
        assert not isinstance(digest, Failure), digest
        return digest


@asynccontextmanager
async def benched(
    engine: str, registry: str, tmp_path: Path, *, loads: bool
) -> AsyncIterator[Bench]:
    """Without `loads` the engine builds everything itself."""
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
        images, cupboard = KnownImages(tmp_path / "images"), Cupboard(tmp_path / "images")
        layers = Layers(cupboard, SystemClock(), leaks)
        workshop = Workshop(cupboard=cupboard, layers=layers, images=images, leaks=leaks)
        docker = Docker(
            context=BuildContext(leaks=leaks),
            endpoint=at_engine.address,
            leaks=leaks,
            before=Before(images, Registry(http)),
            workshop=workshop if loads else None,
        )
        here = Bench(project, docker, at_engine, at_registry, repository)
        yield here
        names = [f"{repository}:{run + 1}" for run in range(here.runs)]
        await docker.forget([*names, *(f"{at_registry.address}/{name}" for name in names)])


@pytest.fixture
async def bench(engine: str, registry: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(engine, registry, tmp_path, loads=False) as here:
        yield here


@pytest.fixture
async def loading(engine: str, registry: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(engine, registry, tmp_path, loads=True) as here:
        yield here


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


# -- Where the Dockerfile is FROM, COPY and settings, the engine gets layers instead of a context.


async def test_a_plain_dockerfile_is_loaded(loading: Bench) -> None:
    image = await loading.build()

    assert (loading.engine.count("/build"), loading.engine.count("/images/load")) == (0, 1)
    assert await loading.docker.image_id(loading.local) == image.image_id


async def test_layers_that_the_engine_has_are_not_loaded_again(loading: Bench) -> None:
    first = await loading.build()
    cleared(loading.engine)
    (loading.project / "services/a.yaml").write_text("a: 2")

    second = await loading.build()

    assert second.image_id != first.image_id
    assert loading.engine.count("/images/load") == 1
    assert loading.engine.received < 100_000


async def test_what_follows_a_changed_layer_is_not_pushed_again(loading: Bench) -> None:
    lines = ["FROM debian:bookworm-slim", "COPY services/ /app/services/", "COPY app /app/bin/"]
    (loading.project / "Dockerfile").write_text("\n".join(lines))
    await loading.build()
    await loading.push()
    cleared(loading.registry)
    (loading.project / "services/a.yaml").write_text("a: 2")

    await loading.build()
    await loading.push()

    assert loading.registry.received < MEGABYTE


async def test_an_engine_that_lost_the_layers_gets_them_again(loading: Bench) -> None:
    first = await loading.build()
    await loading.docker.forget([loading.local])
    cleared(loading.engine)

    second = await loading.build()

    assert second.image_id == first.image_id
    assert loading.engine.received > 5 * MEGABYTE


async def test_what_needs_an_engine_is_built_by_it(loading: Bench) -> None:
    (loading.project / "Dockerfile").write_text(f"{DOCKERFILE}ADD app /there\n")

    await loading.build()

    assert (loading.engine.count("/build"), loading.engine.count("/images/load")) == (1, 0)


async def test_a_base_image_that_the_engine_lacks_is_left_to_it(loading: Bench) -> None:
    (loading.project / "Dockerfile").write_text("FROM nobody/has-this:1\nCOPY app /app/\n")

    failed = await loading.tried()

    assert isinstance(failed, Failure)
    assert failed.kind in (Kind.BASE_NOT_FOUND, Kind.BASE_UNREACHABLE)
    assert loading.engine.count("/images/load") == 0


async def test_a_secret_is_not_loaded_either(loading: Bench) -> None:
    (loading.project / "services/a.yaml").write_text("password: correct-horse-battery")

    failed = await loading.tried()

    assert isinstance(failed, Failure)
    assert failed.kind is Kind.SECRET_IN_IMAGE
    assert (loading.engine.count("/build"), loading.engine.count("/images/load")) == (0, 0)
