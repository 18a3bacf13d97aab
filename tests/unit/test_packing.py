"""A layer compressed in one pass: what is hashed, and what a change meanwhile comes to."""

import gzip
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from deployer.adapters.clock import SystemClock
from deployer.adapters.context.project_tree import Node
from deployer.adapters.context.tar import ChangedError
from deployer.adapters.direct.codec import Codec
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.layers import Layers
from deployer.adapters.direct.packing import Packed, pack
from deployer.adapters.direct.values import Layer, Member
from deployer.adapters.leaks import Leaks
from deployer.adapters.stamp import TICK_SECONDS

pytestmark = pytest.mark.anyio

SIZE = 3 << 20


def member(name: str) -> Member:
    return Member(path=name, node=Node.FILE, mode=0o644, source=name, size=SIZE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    for name in ("one", "two"):
        (root / name).write_bytes(os.urandom(SIZE))
    return root


async def layer_of(root: Path, *, trust: bool = True) -> Layer:
    await anyio.sleep(2 * TICK_SECONDS)
    cupboard = Cupboard(root.parent / "state", trust_fingerprints=trust)
    layers = Layers(cupboard, SystemClock(), Leaks())
    found = await layers.one(root, (member("one"), member("two")), anyio.CapacityLimiter(1))
    assert isinstance(found, Layer)
    return found


async def packed(root: Path, layer: Layer, meanwhile: Callable[[], None]) -> tuple[Packed, bytes]:
    """Pack `layer`; after the first piece has come, `meanwhile` happens once."""
    result, pieces = Packed(), list[bytes]()

    def take(piece: bytes) -> None:
        if not pieces:
            meanwhile()
        pieces.append(piece)

    await to_thread.run_sync(pack, root, layer, Codec.FAST, result, take)
    return result, b"".join(pieces)


def nothing() -> None:
    """Nothing happens."""


def rewrite(path: Path) -> None:
    """Other bytes of the same length, with the same modification time."""
    status = path.stat()
    path.write_bytes(os.urandom(SIZE))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("trust", [True, False])
async def test_the_sums_are_those_of_the_bytes(root: Path, trust: bool) -> None:
    layer = await layer_of(root, trust=trust)

    found, data = await packed(root, layer, nothing)

    assert bool(layer.mark) is trust
    assert found.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert found.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"
    assert found.diff_id == layer.diff_id


@pytest.mark.parametrize("trust", [True, False])
async def test_a_change_before_the_pass_is_noticed(root: Path, trust: bool) -> None:
    layer = await layer_of(root, trust=trust)
    rewrite(root / "two")

    found, _ = await packed(root, layer, nothing)

    assert found.diff_id != layer.diff_id


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("trust", [True, False])
async def test_a_change_during_the_pass_is_noticed(root: Path, name: str, trust: bool) -> None:
    layer = await layer_of(root, trust=trust)

    try:
        found, data = await packed(root, layer, lambda: rewrite(root / name))
    except ChangedError:
        return

    # By its hash it may be what it was: the file had been read already.
    same = hashlib.sha256(gzip.decompress(data)).hexdigest() == layer.diff_id.partition(":")[2]
    assert found.diff_id != layer.diff_id or same


async def test_a_file_that_has_just_changed_is_hashed_again(root: Path) -> None:
    (root / "one").touch()
    layers = Layers(Cupboard(root.parent / "state"), SystemClock(), Leaks())
    found = await layers.one(root, (member("one"),), anyio.CapacityLimiter(1))
    assert isinstance(found, Layer)

    assert not found.mark


async def test_the_fingerprint_makes_no_difference_to_what_a_layer_is(root: Path) -> None:
    layer = await layer_of(root)

    assert layer == replace(layer, mark="")
