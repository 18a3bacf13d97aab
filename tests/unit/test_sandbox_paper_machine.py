"""The machine that reads images instead of running them."""

import gzip
import io
import json
import tarfile
import tracemalloc
from collections.abc import AsyncIterator

import aiohttp
import pytest

from deployer.sandbox.options import TENANTS
from deployer.sandbox.paper_machine import PaperMachine
from deployer.sandbox.shelf import Shelf
from tests.servers.registry import MemoryRegistry, memory_registry, sha

pytestmark = pytest.mark.anyio

LARGE = 60_000_000  # bytes


@pytest.fixture
async def store() -> AsyncIterator[MemoryRegistry]:
    async with memory_registry() as registry:
        yield registry


@pytest.fixture
async def machine(store: MemoryRegistry) -> AsyncIterator[PaperMachine]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield PaperMachine(TENANTS[0], Shelf(store.address, session))


def tar(mode: int = 0o755, size: int = 3) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        program = tarfile.TarInfo("app/run")
        program.mode, program.size = mode, size
        archive.addfile(program, io.BytesIO(bytes(size)))
    return out.getvalue()


def stored(store: MemoryRegistry, packed: bytes, diff_id: str) -> str:
    """Put an image of one layer there; its name at its digest."""
    config = {"config": {"Cmd": ["/app/run"]}, "rootfs": {"diff_ids": [diff_id]}}
    blobs = [json.dumps(config).encode(), packed]
    store.blobs |= {sha(blob): blob for blob in blobs}
    manifest = {"config": {"digest": sha(blobs[0])}, "layers": [{"digest": sha(packed)}]}
    data = json.dumps(manifest).encode()
    store.manifests[sha(data)] = ("application/json", data)
    return f"{store.address}/app@{sha(data)}"


async def test_an_image_whose_bytes_are_what_they_say_is_taken(
    store: MemoryRegistry, machine: PaperMachine
) -> None:
    image = stored(store, gzip.compress(tar()), sha(tar()))

    assert await machine.update(image) is None
    assert await machine.alive()


@pytest.mark.parametrize(
    ("packed", "diff_id", "why"),
    [
        (gzip.compress(tar()), sha(b"x"), "unpacks to something else"),
        (gzip.compress(tar())[:-9], sha(tar()), "cannot be read"),
        (b"no gzip", sha(tar()), "cannot be read"),
        (gzip.compress(b"no tar"), sha(b"no tar"), "cannot be read"),
        (gzip.compress(tar(0o644)), sha(tar(0o644)), "no executable /app/run"),
    ],
    ids=["another tar", "half a gzip", "no gzip", "no tar", "no program"],
)
async def test_an_image_that_no_engine_could_run_is_refused(
    store: MemoryRegistry, machine: PaperMachine, packed: bytes, diff_id: str, why: str
) -> None:
    refused = await machine.update(stored(store, packed, diff_id))

    assert refused is not None
    assert why in refused
    assert not await machine.alive()


async def test_a_registry_that_sends_other_bytes_is_noticed(
    store: MemoryRegistry, machine: PaperMachine
) -> None:
    packed = gzip.compress(tar())
    image = stored(store, packed, sha(tar()))
    store.blobs[sha(packed)] = gzip.compress(tar(), compresslevel=0)

    assert "sends something else" in (await machine.update(image) or "")


async def test_a_layer_that_is_gone_is_noticed(
    store: MemoryRegistry, machine: PaperMachine
) -> None:
    packed = gzip.compress(tar())
    image = stored(store, packed, sha(tar()))
    del store.blobs[sha(packed)]

    assert "does not have" in (await machine.update(image) or "")


async def test_a_large_layer_is_never_in_memory_as_a_whole(
    store: MemoryRegistry, machine: PaperMachine
) -> None:
    plain = tar(size=LARGE)
    image = stored(store, gzip.compress(plain, compresslevel=1), sha(plain))
    del plain
    tracemalloc.start()
    try:
        refused = await machine.update(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert refused is None
    assert peak < LARGE / 10
