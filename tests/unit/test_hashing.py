"""Programs on disk, looked at and hashed."""

import hashlib
import os
import time
from pathlib import Path

import anyio
import pytest

from deployer.adapters.cargo.hashing import Fingerprint, Hashes, Unusable, limiter
from deployer.adapters.stamp import TICK_SECONDS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("magic", [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"])
async def test_a_program_is_hashed_whole(tmp_path: Path, magic: bytes) -> None:
    content = magic + bytes(3 << 20) + b"end"
    path = tmp_path / "app"
    path.write_bytes(content)
    path.chmod(0o755)

    found = await Hashes().of(path, limiter())

    assert found == Fingerprint(len(content), hashlib.sha256(content).hexdigest())


async def test_a_file_that_is_gone_is_a_value(tmp_path: Path) -> None:
    assert await Hashes().of(tmp_path / "app", limiter()) == Unusable("does not exist")


async def test_cancelled_it_stops_reading(tmp_path: Path) -> None:
    path = tmp_path / "app"
    with path.open("wb") as file:
        file.write(b"\x7fELF")
        file.truncate(64 << 30)
    path.chmod(0o755)

    began = time.monotonic()
    with anyio.move_on_after(0.05):
        await Hashes().of(path, limiter())

    assert time.monotonic() - began < 1


def aged(path: Path, content: bytes) -> Path:
    """A program that was last changed so long ago that a further change would be seen."""
    path.write_bytes(content)
    path.chmod(0o755)
    time.sleep(2 * TICK_SECONDS)
    return path


async def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    path = aged(tmp_path / "app", b"\x7fELF" + bytes(96 << 20))
    hashes = Hashes()
    first = await hashes.of(path, limiter())

    began = time.monotonic()
    again = await hashes.of(path, limiter())

    assert again == first
    assert time.monotonic() - began < 0.02  # reading it takes more than 50 ms


async def test_a_change_that_keeps_size_and_time_is_read(tmp_path: Path) -> None:
    path, hashes = aged(tmp_path / "app", b"\x7fELF one"), Hashes()
    first = await hashes.of(path, limiter())
    status = path.stat()
    path.write_bytes(b"\x7fELF two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert await hashes.of(path, limiter()) != first


async def test_what_changed_a_moment_ago_is_not_taken_for_known(tmp_path: Path) -> None:
    path, hashes = tmp_path / "app", Hashes()
    for content in (b"\x7fELF one", b"\x7fELF two"):
        path.write_bytes(content)
        path.chmod(0o755)
        found = await hashes.of(path, limiter())

        assert isinstance(found, Fingerprint)
        assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert not hashes._known
