"""Programs are hashed once, also across processes; and what earlier ones read is not always believed."""

import os
import time
from pathlib import Path

import pytest

from deployer.adapters.cargo.hashing import Fingerprint, Hashes, Programs, Read, Unusable, limiter
from deployer.adapters.stamp import TICK_SECONDS, Stamp

pytestmark = pytest.mark.anyio
TOLD = Fingerprint(size=8, sha256="f" * 64)  # not the file's own: whoever says so has not read it


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program, old enough that each change of it shows."""
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELFcode")
    path.chmod(0o755)
    time.sleep(2 * TICK_SECONDS)
    return path


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
