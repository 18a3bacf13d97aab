"""What is made and sent while cargo runs, and that nothing rests on it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from deployer.adapters.direct import ahead
from deployer.adapters.direct.ahead import Ahead
from deployer.adapters.leaks import Leaks
from deployer.events import Progress, Warned
from deployer.model import Login, Secret
from deployer.names import ImageRef
from tests.fakes.direct import Place, place

pytestmark = pytest.mark.anyio

DOCKERFILE = """\
FROM base:1
COPY target/release/one /app/
COPY target/release/two /app/
COPY web/ /app/web/
"""
ONE, TWO = "target/release/one", "target/release/two"
SIZE = 1_500_000


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_NOT_BEFORE", 0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "target/release").mkdir(parents=True)
    (project / "web").mkdir()
    (project / "Dockerfile").write_text(DOCKERFILE)
    # Random, so that no codec makes them small.
    (project / "web/app.js").write_bytes(os.urandom(SIZE))
    return project


def link(root: Path, name: str) -> Path:
    path = root / name
    path.write_bytes(os.urandom(SIZE))
    path.chmod(0o755)
    return path


@asynccontextmanager
async def at_work(here: Place, login: Login | None = None) -> AsyncIterator[Ahead]:
    async def destination() -> tuple[ImageRef, Login] | None:
        return here.target, login or here.login

    working = here.builder.ahead(here.order, frozenset({ONE, TWO}), destination, here.told.append)
    async with anyio.create_task_group() as group:
        group.start_soon(working.work)
        try:
            yield working
        finally:
            working.stop()


async def until_received(here: Place, size: int) -> None:
    with anyio.fail_after(5):
        while here.registry.received < size:  # noqa: ASYNC110  # it tells of nothing
            await anyio.sleep(0.01)
    await anyio.sleep(0.1)  # what else would be sent, if it were


async def test_what_needs_no_cargo_is_sent_at_once(root: Path) -> None:
    async with place(root) as here, at_work(here):
        await until_received(here, SIZE)

        assert here.registry.received < 1.1 * SIZE
        assert not [
            each for each in here.registry.asked if each.startswith("PUT /v2/app/manifests")
        ]


async def test_each_program_is_sent_when_cargo_names_it(root: Path) -> None:
    async with place(root) as here, at_work(here) as working:
        await until_received(here, SIZE)
        link(root, ONE)
        link(root, TWO)
        working.built(root / ONE)
        await until_received(here, 2 * SIZE)

        assert here.registry.received < 2.1 * SIZE


async def test_an_old_program_is_not_sent_before_cargo_has_named_it(root: Path) -> None:
    link(root, ONE)
    link(root, TWO)
    async with place(root) as here, at_work(here):
        await until_received(here, SIZE)

        assert here.registry.received < 1.1 * SIZE


async def test_the_push_sends_only_what_is_left(root: Path) -> None:
    async with place(root) as here, at_work(here) as working:
        for name in (ONE, TWO):
            working.built(link(root, name))
        await here.image()
        await working.finish()
        sent = here.registry.received
        assert sent > 3 * SIZE

        assert isinstance(await here.push(), str)
        assert here.registry.received - sent < 20_000


async def test_a_program_that_a_later_crate_replaced_is_sent_as_it_is_at_last(root: Path) -> None:
    async with place(root) as here, at_work(here) as working:
        link(root, TWO)
        working.built(link(root, ONE))
        await until_received(here, 2 * SIZE)
        last = link(root, ONE).read_bytes()
        await here.image()
        await working.finish()
        await here.push()

    async with place(root, root.parent / "other") as there:
        await there.image()
        assert (root / ONE).read_bytes() == last
        assert await there.push() in here.registry.manifests


async def test_a_registry_that_refuses_is_no_failure_and_is_not_told(root: Path) -> None:
    async with place(root, refuses_chunks=True, lies=True) as here, at_work(here) as working:
        await anyio.sleep(0.3)
        await working.finish()

        assert not here.told


async def test_who_finishes_hears_how_far_it_is(root: Path) -> None:
    async with place(root) as here, at_work(here) as working:
        await until_received(here, SIZE)
        assert not here.told
        for name in (ONE, TWO):
            working.built(link(root, name))
        await working.finish()

        assert any(isinstance(each, Progress) for each in here.told)


async def test_a_bug_in_it_costs_only_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place(root) as here:

        def broken(*_: object) -> None:
            raise ValueError("\x1b[31m")

        monkeypatch.setattr(ahead, "drawn", broken)
        async with at_work(here) as working:
            await anyio.sleep(0.2)
            await working.finish()
        monkeypatch.undo()
        link(root, ONE)
        link(root, TWO)

        assert any(isinstance(each, Warned) and "\x1b" not in each.text for each in here.told)
        assert await here.pushed()


async def test_it_waits_for_a_cargo_that_takes_its_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_NOT_BEFORE", 30.0)
    async with place(root) as here, at_work(here) as working:
        await anyio.sleep(0.1)
        with anyio.fail_after(1):
            await working.finish()

        assert not here.registry.asked


async def test_without_a_destination_nothing_is_sent(root: Path) -> None:
    async def destination() -> None:
        return None

    async with place(root) as here:
        working = here.builder.ahead(here.order, frozenset(), destination, here.told.append)
        await working.work()

        assert not here.registry.received


async def test_nothing_that_holds_a_secret_is_sent(root: Path) -> None:
    secret = "postgres://app:pass-word-0123@db/x"
    (root / "web/app.js").write_bytes(secret.encode() + os.urandom(SIZE))
    async with place(root, leaks=Leaks([Secret(secret)])) as here, at_work(here) as working:
        working.built(link(root, ONE))
        await until_received(here, SIZE)

        assert here.registry.received < 1.1 * SIZE
