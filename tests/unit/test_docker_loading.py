"""What becomes of an image whose layers an engine does not take: it is built, or told why not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployer.adapters.clock import SystemClock
from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.layers import Layers
from deployer.adapters.direct.values import Base
from deployer.adapters.docker.engine import Docker, Patience
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.docker.loading import Workshop
from deployer.adapters.leaks import Leaks
from deployer.failures import Failure, Kind
from deployer.model import Image
from deployer.ports import ImageOrder
from tests.servers.engine import IMAGE_ID, End, StandIn, image, serving

pytestmark = pytest.mark.anyio

BASE = f"sha256:{'2' * 64}"
LOCAL = "deployer-run:1"
BUILT = [json.dumps({"aux": {"ID": IMAGE_ID}})]
REFUSED = [json.dumps({"errorDetail": {"message": "no"}, "error": "no"})]
CONFIG = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [BASE]}}


@pytest.fixture
async def engine() -> AsyncIterator[StandIn]:
    images = {LOCAL: image(), "debian": image(BASE)}
    async with serving(StandIn(lines=BUILT, images=images, info={"Driver": "overlay2"})) as engine:
        yield engine


@pytest.fixture
def docker(engine: StandIn, tmp_path: Path) -> Docker:
    """At an engine whose base image is known already."""
    cupboard, leaks = Cupboard(tmp_path / "images"), Leaks()
    cupboard.keep_base(
        BASE,
        Base(
            registry="",
            repository="",
            digest=BASE,
            oci=False,
            layers=(),
            config=json.dumps(CONFIG),
            size=1,
            tree={},
        ),
    )
    return Docker(
        context=BuildContext(),
        endpoint=engine.endpoint,
        patience=Patience(build=0.5),
        workshop=Workshop(
            cupboard=cupboard,
            layers=Layers(cupboard, SystemClock(), leaks),
            images=KnownImages(tmp_path / "images"),
            leaks=leaks,
        ),
    )


@pytest.fixture
def order(tmp_path: Path) -> ImageOrder:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/app").write_bytes(b"x" * 1_000_000)
    (tmp_path / "project/Dockerfile").write_text("FROM debian\nCOPY app /app/\n")
    return ImageOrder(
        project_root=tmp_path / "project", dockerfile=Path("Dockerfile"), local_tag=LOCAL
    )


def asked(engine: StandIn) -> list[str]:
    """In their order, the requests that send something."""
    found = [line.partition("?")[0] for line in engine.asked if line.startswith("POST")]
    return [line.removeprefix("POST ") for line in found]


@pytest.mark.parametrize("driver", ["overlayfs", "overlay", "stargz", None])
async def test_a_store_that_wants_whole_images_builds(
    driver: str | None, engine: StandIn, docker: Docker, order: ImageOrder
) -> None:
    engine.info = {"Driver": driver}

    found = await docker.build(order, lambda _: None)

    assert isinstance(found, Image)
    assert asked(engine) == ["/build"]


@pytest.mark.parametrize(
    ("lines", "status"), [(REFUSED, 200), ([json.dumps({"message": "no"})], 500), (BUILT, 200)]
)
async def test_an_engine_that_does_not_take_layers_builds(
    lines: list[str], status: int, engine: StandIn, docker: Docker, order: ImageOrder
) -> None:
    engine.load = StandIn(lines=lines, status=status)

    found = await docker.build(order, lambda _: None)

    assert isinstance(found, Image)
    assert found.image_id == IMAGE_ID
    assert asked(engine) == ["/images/load", "/build"]


@pytest.mark.parametrize(("end", "kind"), [("cut", Kind.ENGINE_DIED), ("hang", Kind.ENGINE_SILENT)])
async def test_an_engine_that_fails_while_it_loads_is_not_asked_to_build(
    end: End, kind: Kind, engine: StandIn, docker: Docker, order: ImageOrder
) -> None:
    engine.load = StandIn(lines=['{"stream": "Loading"}'], end=end)

    found = await docker.build(order, lambda _: None)

    assert isinstance(found, Failure)
    assert found.kind is kind
    assert asked(engine) == ["/images/load"]


async def test_a_base_image_that_cannot_be_read_builds(
    engine: StandIn, docker: Docker, order: ImageOrder
) -> None:
    """What the engine saves of it is no tar."""
    engine.images["debian"] = image(f"sha256:{'3' * 64}")

    found = await docker.build(order, lambda _: None)

    assert isinstance(found, Image)
    assert asked(engine) == ["/build"]
