"""Builds and pushes with a real engine and a real registry."""

import hashlib
import os
import secrets
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from deployer.adapters.context.build_context import BuildContext, PackedContext
from deployer.adapters.docker.engine import Docker
from deployer.events import OutputLine, Progress, Transient
from deployer.failures import Failure, Kind
from deployer.model import Image, Login, Secret
from deployer.names import ImageRef
from deployer.ports import EngineInfo, ImageOrder
from tests.fakes.contexts import packed_context

pytestmark = [pytest.mark.real, pytest.mark.anyio]

BASE = "FROM debian:bookworm-slim\n"
MEGABYTE = 1_000_000


@pytest.fixture
def docker(engine: str) -> Docker:
    return Docker(context=BuildContext(), endpoint=engine)


@pytest.fixture
def tag() -> str:
    return f"deployer-test/{secrets.token_hex(6)}:1"


@pytest.fixture
def order(tmp_path: Path, tag: str) -> Callable[[str], ImageOrder]:
    def write(steps: str) -> ImageOrder:
        (tmp_path / "Dockerfile").write_text(f"{BASE}{steps}\n")
        return ImageOrder(project_root=tmp_path, dockerfile=Path("Dockerfile"), local_tag=tag)

    return write


def ignore(_event: Transient) -> None:
    pass


def login(registry: str) -> Login:
    return Login(registry=registry, username="x", password=Secret("any-password"))


async def digest_at(target: ImageRef) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.head(
            f"http://{target.registry}/v2/{target.repository}/manifests/{target.tag}",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
    return str(answer.headers["docker-content-digest"])


def running(word: str) -> list[str]:
    """Processes that have `word` in their arguments: containers' ones are seen from here, too."""
    return [pid for pid, command in _commands() if word in command]


def _commands() -> Iterator[tuple[str, str]]:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield place.parent.name, place.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """How long it took. Raises TimeoutError."""
    began = anyio.current_time()
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110  # of processes that are not ours
            await anyio.sleep(0.01)
    return anyio.current_time() - began


async def test_the_engine_tells_who_it_is(docker: Docker, engine: str) -> None:
    info = await docker.ping()

    assert isinstance(info, EngineInfo)
    assert info.endpoint == engine
    assert info.version


async def test_an_image_is_built_pushed_found_and_forgotten(
    docker: Docker, registry: str, order: Callable[[str], ImageOrder], tmp_path: Path, tag: str
) -> None:
    (tmp_path / "app").write_bytes(os.urandom(3 * MEGABYTE))
    target = ImageRef(registry, "deployer-test/app", "t1")
    events: list[Transient] = []

    image = await docker.build(order("COPY app /app/bin/"), events.append)
    assert isinstance(image, Image)
    digest = await docker.push(tag, target, login(registry), events.append)
    assert isinstance(digest, str), digest

    assert (image.os, image.architecture) == ("linux", "amd64")
    assert await docker.image_id(tag) == image.image_id
    assert await docker.image_id(str(target)) == image.image_id
    assert await digest_at(target) == digest
    assert any(isinstance(event, OutputLine) and "COPY app" in event.text for event in events)
    assert any(isinstance(event, Progress) and event.what == "steps" for event in events)

    await docker.forget([tag, str(target)])
    assert await docker.image_id(tag) is None
    assert await docker.image_id(str(target)) is None


async def test_nothing_is_written_below_the_docker_directory(
    docker: Docker, registry: str, order: Callable[[str], ImageOrder], tag: str
) -> None:
    place = Path.home() / ".docker"

    def digest() -> list[tuple[str, str]]:
        return [
            (str(path), hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(place.rglob("*"))
            if path.is_file()
        ]

    before = digest()
    await docker.build(order("ENV A=1"), ignore)
    await docker.push(tag, ImageRef(registry, "deployer-test/env", "t1"), login(registry), ignore)

    assert digest() == before


async def test_equal_contexts_build_from_the_cache(
    docker: Docker, order: Callable[[str], ImageOrder], tmp_path: Path
) -> None:
    (tmp_path / "app").write_bytes(os.urandom(MEGABYTE))
    wanted = order("COPY app /app/bin/")

    first = await docker.build(wanted, ignore)
    os.utime(tmp_path / "app", (1, 1))
    second = await docker.build(wanted, ignore)

    assert isinstance(first, Image)
    assert first == second


async def test_a_cancelled_build_stops_at_the_engine(
    docker: Docker, order: Callable[[str], ImageOrder], seen: Callable[[str], None]
) -> None:
    word = f"98{secrets.randbelow(10**6)}"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(docker.build, order(f"RUN sleep {word}"), ignore)
        await until(lambda: bool(running(f"sleep {word}")), 20)
        began = anyio.current_time()
        tasks.cancel_scope.cancel()
    returned = anyio.current_time() - began
    stopped = returned + await until(lambda: not running(f"sleep {word}"), 5)

    assert returned < 1
    assert stopped < 3
    seen("I20")


async def test_a_cancelled_push_stops_at_the_engine(
    docker: Docker,
    registry: str,
    order: Callable[[str], ImageOrder],
    tmp_path: Path,
    tag: str,
    seen: Callable[[str], None],
) -> None:
    for number in range(4):
        (tmp_path / f"layer{number}").write_bytes(os.urandom(40 * MEGABYTE))
    built = await docker.build(
        order("\n".join(f"COPY layer{number} /l/" for number in range(4))), ignore
    )
    assert isinstance(built, Image), built
    sent = anyio.Event()

    def watch(event: Transient) -> None:
        if isinstance(event, Progress) and event.done > MEGABYTE:
            sent.set()

    async with throttled(registry, bytes_a_second=4 * MEGABYTE) as slow:
        target = ImageRef(slow.address, "deployer-test/cancelled", "t1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(docker.push, tag, target, login(slow.address), watch)
            with anyio.fail_after(20):
                await sent.wait()
            began = anyio.current_time()
            tasks.cancel_scope.cancel()
        assert anyio.current_time() - began < 1
        # Buffers of the kernel drain for a while; 160 MB would take 40 s.
        await until(lambda: slow.open == 0, 5)
        assert slow.sent < 40 * MEGABYTE
        seen("P16")

    await docker.forget([tag, str(target)])


class Slow:
    """A way to the registry that lets few bytes a second through."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent = 0
        self.open = 0


@asynccontextmanager
async def throttled(registry: str, *, bytes_a_second: int) -> AsyncIterator[Slow]:
    host, _, port = registry.rpartition(":")
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    slow = Slow(f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}")

    async def copy(source: SocketStream, sink: SocketStream, pause: float) -> None:
        try:
            async for data in source:
                await sink.send(data)
                slow.sent += len(data) if pause else 0
                await anyio.sleep(len(data) * pause)
            await sink.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            await anyio.aclose_forcefully(sink)

    async def serve(client: SocketStream) -> None:
        slow.open += 1
        try:
            server = await anyio.connect_tcp(host, int(port))
            async with client, server, anyio.create_task_group() as tasks:
                tasks.start_soon(copy, client, server, 1 / bytes_a_second)
                tasks.start_soon(copy, server, client, 0.0)
        finally:
            slow.open -= 1

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield slow
        tasks.cancel_scope.cancel()


async def test_a_failing_step_keeps_its_last_words(
    docker: Docker, order: Callable[[str], ImageOrder]
) -> None:
    outcome = await docker.build(order("RUN echo last words; exit 7"), ignore)

    assert isinstance(outcome, Failure)
    assert outcome.kind is Kind.RUN_STEP_FAILED
    assert "last words" in outcome.details


async def test_a_killed_step_is_no_bug_of_the_dockerfile(
    docker: Docker, order: Callable[[str], ImageOrder]
) -> None:
    outcome = await docker.build(order("RUN exit 137"), ignore)

    assert isinstance(outcome, Failure)
    assert outcome.kind is Kind.RUN_STEP_KILLED


async def test_gigabytes_beside_the_sources_cost_nothing(
    order: Callable[[str], ImageOrder], tmp_path: Path
) -> None:
    for path, megabytes in (("target/release/deps/x", 2000), (".git/pack", 200)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
        os.truncate(tmp_path / path, megabytes * MEGABYTE)
    (tmp_path / "target/release/app").write_bytes(os.urandom(MEGABYTE))

    packed = await packed_context(order("COPY target/release/app /app/"))

    assert isinstance(packed, PackedContext)
    with packed, tarfile.open(fileobj=packed.file) as tar:
        assert packed.size < 1.1 * MEGABYTE
        assert tar.getnames() == ["Dockerfile", "target", "target/release", "target/release/app"]


async def test_the_event_loop_stays_free_while_a_context_is_sent(
    docker: Docker, order: Callable[[str], ImageOrder], tmp_path: Path
) -> None:
    (tmp_path / "app").write_bytes(os.urandom(100 * MEGABYTE))
    worst = 0.0

    async def beat() -> None:
        nonlocal worst
        while True:
            began = anyio.current_time()
            await anyio.sleep(0.001)
            worst = max(worst, anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        outcome = await docker.build(order("COPY app /app/"), ignore)
        tasks.cancel_scope.cancel()

    assert isinstance(outcome, Image)
    assert worst < 0.25


async def test_a_retained_image_replaces_the_one_before_it(
    docker: Docker, order: Callable[[str], ImageOrder], tag: str
) -> None:
    kept = f"deployer-test-last:{secrets.token_hex(6)}"
    ids = []
    for content in ("one", "two"):
        image = await docker.build(order(f"{BASE}LABEL content={content}\n"), ignore)
        assert isinstance(image, Image), image
        await docker.retain(tag, kept)
        await docker.forget([tag])
        ids.append(image.image_id)

    assert await docker.image_id(kept) == ids[1]
    assert await docker.image_id(ids[0]) is None
    await docker.forget([kept])
