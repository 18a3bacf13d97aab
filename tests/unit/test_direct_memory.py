"""What the direct builder remembers of earlier images, and when it does not trust its memory."""

import os
from pathlib import Path

import anyio
import pytest

from deployer.adapters.clock import SystemClock
from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.codec import Codec
from deployer.adapters.direct.cupboard import Cupboard, KnownBlob, KnownLayer
from deployer.adapters.direct.fingerprint import fingerprint
from deployer.adapters.direct.layers import Layers
from deployer.adapters.direct.values import DiffId, Layer, Member
from deployer.adapters.leaks import CHUNK, Leaks, Searched
from deployer.adapters.stamp import TICK_SECONDS
from deployer.failures import Failure, Kind
from deployer.model import Secret

KNOWN = KnownLayer(diff_id=DiffId("sha256:" + "a" * 64))


def member(size: int = 3) -> Member:
    return Member(path="app/file", node=Node.FILE, mode=0o644, source="file", size=size)


def test_the_same_file_has_the_same_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")

    assert fingerprint(tmp_path, [member()]) == fingerprint(tmp_path, [member()])


def test_bytes_that_change_under_a_restored_time_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("abc")
    before = file.stat()
    mark, _ = fingerprint(tmp_path, [member()])
    file.write_text("xyz")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert fingerprint(tmp_path, [member()])[0] != mark


def test_another_owner_in_the_image_is_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")
    owned = Member(path="app/file", node=Node.FILE, mode=0o644, uid=5, source="file", size=3)

    assert fingerprint(tmp_path, [member()])[0] != fingerprint(tmp_path, [owned])[0]


def test_what_was_kept_is_known_to_the_next_process(tmp_path: Path) -> None:
    Cupboard(tmp_path).keep_layer("mark", KNOWN)

    assert Cupboard(tmp_path).layer("mark") == KNOWN


def test_without_trust_in_fingerprints_no_layer_is_known(tmp_path: Path) -> None:
    Cupboard(tmp_path).keep_layer("mark", KNOWN)

    assert Cupboard(tmp_path, trust_fingerprints=False).layer("mark") is None


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    cupboard = Cupboard(tmp_path)
    cupboard.keep_layer("mark", KNOWN)
    (tmp_path / "layers/mark.json").write_text('{"diff_id": ')

    assert cupboard.layer("mark") is None


def test_a_name_with_slashes_stays_inside_the_cupboard(tmp_path: Path) -> None:
    cupboard = Cupboard(tmp_path / "inside")
    known = KnownBlob(
        digest="sha256:" + "b" * 64, size=1, codec=Codec.FAST, registry="r", repository="p"
    )

    cupboard.keep_blob("../../outside", known)

    assert cupboard.blob("../../outside") == known
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_the_cupboard_does_not_grow_without_end(tmp_path: Path) -> None:
    cupboard = Cupboard(tmp_path)

    for number in range(520):
        cupboard.keep_layer(f"mark-{number}", KNOWN)

    assert len(list((tmp_path / "layers").iterdir())) <= 500
    assert cupboard.layer("mark-519") == KNOWN


def test_a_full_disk_costs_memory_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")

    Cupboard(tmp_path / "file").keep_layer("mark", KNOWN)


@pytest.mark.anyio
async def test_a_password_that_is_known_by_now_is_found_in_a_layer_that_is(tmp_path: Path) -> None:
    size = 2 * CHUNK
    (tmp_path / "file").write_bytes(bytes(size) + b"correct-horse-battery")
    await anyio.sleep(2 * TICK_SECONDS)
    cupboard, found = Cupboard(tmp_path / "known"), list[Layer | Failure]()

    for secrets in ([], [Secret("correct-horse-battery")]):
        leaks = Leaks(secrets, Searched(tmp_path / "known"))
        layers = Layers(cupboard, SystemClock(), leaks)
        found.append(await layers.one(tmp_path, (member(size + 21),), anyio.CapacityLimiter(1)))

    before, after = found
    assert isinstance(before, Layer)
    assert isinstance(after, Failure)
    assert after.kind is Kind.SECRET_IN_IMAGE
