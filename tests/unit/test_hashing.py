"""Programs on disk, looked at and hashed."""

import hashlib
import time
from pathlib import Path

import anyio
import pytest

from deployer.adapters.cargo.hashing import Fingerprint, Unusable, fingerprint, limiter

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("magic", [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"])
async def test_a_program_is_hashed_whole(tmp_path: Path, magic: bytes) -> None:
    content = magic + bytes(3 << 20) + b"end"
    path = tmp_path / "app"
    path.write_bytes(content)
    path.chmod(0o755)

    found = await fingerprint(path, limiter())

    assert found == Fingerprint(len(content), hashlib.sha256(content).hexdigest())


async def test_a_file_that_is_gone_is_a_value(tmp_path: Path) -> None:
    assert await fingerprint(tmp_path / "app", limiter()) == Unusable("does not exist")


async def test_cancelled_it_stops_reading(tmp_path: Path) -> None:
    path = tmp_path / "app"
    with path.open("wb") as file:
        file.write(b"\x7fELF")
        file.truncate(64 << 30)
    path.chmod(0o755)

    began = time.monotonic()
    with anyio.move_on_after(0.05):
        await fingerprint(path, limiter())

    assert time.monotonic() - began < 1
