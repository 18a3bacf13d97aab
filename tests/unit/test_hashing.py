"""Programs on disk, looked at and hashed."""

import hashlib
import os
import time
from pathlib import Path

import anyio
import pytest

from deployer.adapters.cargo.hashing import Fingerprint, Hashes, Programs, Read, Unusable, limiter
from deployer.adapters.stamp import TICK_SECONDS, Stamp

pytestmark = pytest.mark.anyio
TOLD = Fingerprint(size=8, sha256="f" * 64)  # not the file's own: whoever says so has not read it


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


# -- what earlier processes read


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program, old enough that each change of it shows."""
    return aged(tmp_path / "program", b"\x7fELFcode")


@pytest.fixture
def programs(tmp_path: Path, program: Path) -> Programs:
    """A memory that tells something else of it."""
    programs = Programs(tmp_path / "known")
    programs.keep(program, Read(Stamp.of(program.stat()), TOLD))
    return programs


def rewrite(program: Path) -> None:
    """Put other bytes in, as many, under the old time."""
    status = program.stat()
    program.write_bytes(b"\x7fELFc0de")
    os.utime(program, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def zeros(tmp_path: Path, programs: Programs) -> Path:
    """What a power cut may leave of a program that is remembered."""
    path = tmp_path / "zeros"
    path.write_bytes(bytes(8))
    path.chmod(0o755)
    programs.keep(path, Read(Stamp.of(path.stat()), TOLD))
    return path


async def test_what_an_earlier_process_read_is_not_read_again(
    program: Path, programs: Programs
) -> None:
    assert await Hashes(programs).of(program, limiter()) == TOLD


async def test_what_is_verified_is_read(program: Path, programs: Programs) -> None:
    found = await Hashes(programs).verified(program, limiter())

    assert isinstance(found, Fingerprint)
    assert found != TOLD


async def test_what_this_process_went_by_stays_its_word(program: Path, programs: Programs) -> None:
    hashes = Hashes(programs)
    await hashes.of(program, limiter())

    assert await hashes.verified(program, limiter()) == TOLD


async def test_a_program_with_other_bytes_and_the_old_time_is_read(
    program: Path, programs: Programs
) -> None:
    rewrite(program)

    assert await Hashes(programs).of(program, limiter()) != TOLD


async def test_what_was_read_is_remembered(program: Path, tmp_path: Path) -> None:
    programs = Programs(tmp_path / "new")

    found = await Hashes(programs).of(program, limiter())

    known = programs.known(program)
    assert known is not None
    assert known.fingerprint == found != TOLD


async def test_what_might_change_unseen_is_not_remembered(program: Path, tmp_path: Path) -> None:
    programs = Programs(tmp_path / "new")
    rewrite(program)

    await Hashes(programs).of(program, limiter())

    assert programs.known(program) is None


async def test_what_is_no_program_is_refused_whatever_is_remembered(
    zeros: Path, programs: Programs
) -> None:
    assert isinstance(await Hashes(programs).of(zeros, limiter()), Unusable)
