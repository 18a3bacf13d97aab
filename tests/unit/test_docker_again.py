"""An engine does nothing twice, and leaves out nothing that would come out differently."""

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from deployer.adapters.context.build_context import BuildContext, PlannedContext
from deployer.adapters.docker.again import Again, Before
from deployer.adapters.docker.client import connected
from deployer.adapters.docker.engine import Docker
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.http.client import Http
from deployer.adapters.leaks import Leaks
from deployer.adapters.registry.client import Registry
from deployer.adapters.stamp import TICK_SECONDS
from deployer.events import Progress, Transient, Warned
from deployer.failures import Failure, Kind
from deployer.model import Image, Login, Secret
from deployer.names import Digest, ImageRef, parse_image_id
from deployer.ports import ImageOrder
from tests.servers.engine import IMAGE_ID, StandIn, image, serving
from tests.servers.registry import MemoryRegistry, error, memory_registry, sha

pytestmark = pytest.mark.anyio

BASE, OTHER = (f"sha256:{digit * 64}" for digit in "23")
BUILT = [json.dumps({"stream": "Step 1/1 : FROM debian\n"}), json.dumps({"aux": {"ID": IMAGE_ID}})]
LOCAL, NEXT = "deployer-run:1", "deployer-run:2"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "services").mkdir(parents=True)
    (root / "services/a.yaml").write_text("a: 1")
    (root / "app").write_text("x" * 2_000_000)
    (root / ".dockerignore").write_text("target\n")
    (root / "Dockerfile").write_text("FROM debian\nCOPY app services /x/\n")
    return root


@pytest.fixture
def engine() -> StandIn:
    return StandIn(lines=BUILT, images={LOCAL: image(), "debian": image(BASE)})


def order(project: Path, tag: str) -> ImageOrder:
    return ImageOrder(project_root=project, dockerfile=Path("Dockerfile"), local_tag=tag)


def ignore(_event: Transient) -> None:
    pass


class Bench:
    """One tool after another on the same state directory, at one engine."""

    def __init__(self, engine: StandIn, project: Path, http: Http) -> None:
        self.engine = engine
        self.project = project
        self._http = http

    def docker(self, leaks: Leaks | None = None, *, trust: bool = True) -> Docker:
        images = KnownImages(self.project.parent / "images", trust_fingerprints=trust)
        return Docker(
            context=BuildContext(leaks=leaks),
            endpoint=self.engine.endpoint,
            leaks=leaks,
            before=Before(images, Registry(self._http)),
        )

    async def build(self, tag: str) -> Image | Failure:
        return await self.docker().build(order(self.project, tag), ignore)

    def asked(self, word: str) -> int:
        return sum(word in line for line in self.engine.asked)


@pytest.fixture
async def bench(engine: StandIn, project: Path) -> AsyncIterator[Bench]:
    async with serving(engine), Http() as http:
        yield Bench(engine, project, http)


# -- Build


async def test_an_unchanged_context_is_not_sent_again(bench: Bench) -> None:
    first = await bench.build(LOCAL)
    sent = bench.engine.received
    second = await bench.build(NEXT)

    assert isinstance(first, Image)
    assert second == Image(
        image_id=first.image_id, local_tag=NEXT, os="linux", architecture="amd64", size=first.size
    )
    assert (bench.asked("/build?"), bench.engine.received) == (1, sent)
    assert bench.engine.images[NEXT]["Id"] == IMAGE_ID


def a_source(bench: Bench) -> None:
    (bench.project / "services/a.yaml").write_text("a: 2")


def a_new_source(bench: Bench) -> None:
    (bench.project / "services/b.yaml").touch()


def a_mode(bench: Bench) -> None:
    (bench.project / "app").chmod(0o755)


def the_dockerfile(bench: Bench) -> None:
    (bench.project / "Dockerfile").write_text("FROM debian\nCOPY services app /x/\n")


def the_ignore_file(bench: Bench) -> None:
    (bench.project / ".dockerignore").write_text("target\n\n")


def the_base(bench: Bench) -> None:
    bench.engine.images["debian"] = image(OTHER)


def the_base_is_gone(bench: Bench) -> None:
    del bench.engine.images["debian"]


def the_image_is_another(bench: Bench) -> None:
    bench.engine.images[LOCAL] = image(OTHER)


@pytest.mark.parametrize(
    "change",
    [
        a_source,
        a_new_source,
        a_mode,
        the_dockerfile,
        the_ignore_file,
        the_base,
        the_base_is_gone,
        the_image_is_another,
    ],
)
async def test_whatever_changes_is_built(change: Callable[[Bench], None], bench: Bench) -> None:
    await bench.build(LOCAL)
    change(bench)
    bench.engine.images[NEXT] = image()
    if change is the_image_is_another:
        del bench.engine.images[NEXT]

    await bench.build(NEXT)

    assert bench.asked("/build?") == 2


@pytest.mark.parametrize(
    "step",
    [
        "ADD https://example.com/x /x/",
        "COPY --from=nginx:latest /etc/nginx /x/",
        "RUN --mount=type=bind,from=nginx true",
    ],
)
async def test_what_only_the_engine_can_look_at_is_always_built(step: str, bench: Bench) -> None:
    (bench.project / "Dockerfile").write_text(f"FROM debian\n{step}\n")
    bench.engine.images[NEXT] = image()

    await bench.build(LOCAL)
    await bench.build(NEXT)

    assert bench.asked("/build?") == 2


async def test_stages_of_the_dockerfile_itself_are_known(bench: Bench) -> None:
    text = "FROM debian AS one\nCOPY app /x\nFROM one\nCOPY --from=one /x /y\nCOPY --from=0 /x /z\n"
    (bench.project / "Dockerfile").write_text(text)

    await bench.build(LOCAL)
    await bench.build(NEXT)

    assert bench.asked("/build?") == 1


async def test_a_base_with_triggers_is_always_built_upon(bench: Bench) -> None:
    bench.engine.images["debian"] = {**image(BASE), "Config": {"OnBuild": ["ADD http://h/x /"]}}
    bench.engine.images[NEXT] = image()

    await bench.build(LOCAL)
    await bench.build(NEXT)

    assert bench.asked("/build?") == 2


async def test_without_trust_in_fingerprints_each_image_is_built(bench: Bench) -> None:
    bench.engine.images[NEXT] = image()
    await bench.build(LOCAL)

    await bench.docker(trust=False).build(order(bench.project, NEXT), ignore)

    assert bench.asked("/build?") == 2


async def test_a_failed_build_is_not_remembered(bench: Bench) -> None:
    bench.engine.lines = BUILT[:1]
    assert isinstance(await bench.build(LOCAL), Failure)
    bench.engine.lines = BUILT

    assert isinstance(await bench.build(LOCAL), Image)
    assert bench.asked("/build?") == 2


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(None, BASE, 1), (BASE, OTHER, 0), (BASE, BASE, 1), (None, None, 0), (BASE, None, 0)],
)
async def test_a_base_that_moved_during_the_build_leaves_nothing_to_rely_on(
    before: str | None, after: str | None, kept: int, bench: Bench, tmp_path: Path
) -> None:
    planned = await BuildContext().plan(order(bench.project, LOCAL))
    assert isinstance(planned, PlannedContext)
    images = KnownImages(tmp_path / "images")
    again = Again(images, planned, Leaks())
    bench.engine.images = {"debian": image(before)} if before else {}

    async with connected(bench.engine.endpoint) as engine:
        assert await again.found(engine, NEXT) is None
        bench.engine.images = {"debian": image(after)} if after else {}
        await again.keep(engine, parse_image_id(IMAGE_ID))

    assert len(list((tmp_path / "images").rglob("*.json"))) == kept


@pytest.mark.parametrize("size", [0, 2 << 20])
async def test_a_password_that_is_known_by_now_is_found_in_an_unchanged_context(
    bench: Bench, size: int
) -> None:
    text = "password: correct-horse-battery" + size * " "
    (bench.project / "services/a.yaml").write_text(text)
    await bench.build(LOCAL)

    leaks = Leaks([Secret("correct-horse-battery")])
    outcome = await bench.docker(leaks).build(order(bench.project, NEXT), ignore)

    assert bench.asked("/build?") == 1
    assert isinstance(outcome, Failure)
    assert outcome.kind is Kind.SECRET_IN_IMAGE


async def test_a_look_that_fails_is_no_failed_build(bench: Bench) -> None:
    bench.engine.images["debian"] = {"Id": "nonsense"}

    assert isinstance(await bench.build(LOCAL), Image)
    assert bench.asked("/build?") == 1


async def test_what_stays_out_is_told_each_time(bench: Bench) -> None:
    (bench.project / "services/.env").touch()
    await bench.build(LOCAL)
    events: list[Transient] = []

    await bench.docker().build(order(bench.project, NEXT), events.append)

    assert [".env" in event.text for event in events if isinstance(event, Warned)] == [True]


async def test_a_source_is_packed_when_a_further_change_of_it_would_be_seen(bench: Bench) -> None:
    (bench.project / "app").write_text("fresh")
    changed = (bench.project / "app").stat().st_ctime_ns
    sent: list[int] = []

    def watch(event: Transient) -> None:
        if isinstance(event, Progress):
            sent.append(time.time_ns())

    await bench.docker().build(order(bench.project, LOCAL), watch)

    assert sent[0] - changed > TICK_SECONDS * 1e9


# -- Push

MANIFEST = b'{"schemaVersion": 2}'
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    async with memory_registry() as serving_registry:
        serving_registry.manifests[sha(MANIFEST)] = (MEDIA_TYPE, MANIFEST)
        yield serving_registry


async def push(
    bench: Bench, registry: MemoryRegistry, tag: str, repository: str = "team/app"
) -> Digest | Failure:
    bench.engine.lines = [json.dumps({"aux": {"Tag": tag, "Digest": sha(MANIFEST), "Size": 1}})]
    target = ImageRef(registry.address, repository, tag)
    login = Login(registry=registry.address, username="x", password=Secret("s3cret-token"))
    return await bench.docker().push(LOCAL, target, login, ignore)


async def test_an_image_that_the_registry_has_is_named_there_and_not_pushed(
    bench: Bench, registry: MemoryRegistry
) -> None:
    first = await push(bench, registry, "t1")
    assert registry.asked == []
    second = await push(bench, registry, "t2")

    assert first == second == sha(MANIFEST)
    assert bench.asked("/push?") == 1
    assert registry.manifests["t2"] == (MEDIA_TYPE, MANIFEST)
    assert [line.split()[0] for line in registry.asked] == ["GET", "PUT"]


def gone(registry: MemoryRegistry) -> None:
    registry.manifests.clear()


def refusing(registry: MemoryRegistry) -> None:
    registry.answers["PUT"] = [error(403, "DENIED")]


def unreadable(registry: MemoryRegistry) -> None:
    registry.answers["GET"] = [error(401, "UNAUTHORIZED")]


def lying(registry: MemoryRegistry) -> None:
    registry.lies = True


def changed(registry: MemoryRegistry) -> None:
    registry.manifests[sha(MANIFEST)] = (MEDIA_TYPE, b"{}")


@pytest.mark.parametrize("trouble", [gone, refusing, unreadable, lying, changed])
async def test_whatever_the_registry_says_else_the_engine_pushes(
    trouble: Callable[[MemoryRegistry], None], bench: Bench, registry: MemoryRegistry
) -> None:
    await push(bench, registry, "t1")
    trouble(registry)

    assert await push(bench, registry, "t2") == sha(MANIFEST)

    assert registry.asked != []
    assert bench.asked("/push?") == 2


async def test_another_repository_or_image_is_pushed(
    bench: Bench, registry: MemoryRegistry
) -> None:
    await push(bench, registry, "t1")
    await push(bench, registry, "t2", repository="team/other")
    bench.engine.images[LOCAL] = image(OTHER)
    await push(bench, registry, "t3")

    assert bench.asked("/push?") == 3
    assert registry.asked == []


async def test_a_failed_push_is_not_remembered(bench: Bench, registry: MemoryRegistry) -> None:
    bench.engine.end = "close"
    bench.engine.status = 500
    bench.engine.lines = ['{"message": "no"}']
    target = ImageRef(registry.address, "team/app", "t0")
    login = Login(registry=registry.address, username="x", password=Secret("s3cret-token"))
    assert isinstance(await bench.docker().push(LOCAL, target, login, ignore), Failure)
    bench.engine.end, bench.engine.status = "whole", 200

    await push(bench, registry, "t1")

    assert registry.asked == []
    assert bench.asked("/push?") == 2
