"""What a machine does to processes: other clocks, another boot, a process id that comes again."""

import os
import secrets
import subprocess  # noqa: TID251  # short, and beside the loop
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from deployer.sandbox.packages import Apt, can_fetch, fetch_programs
from deployer.sandbox.places import cache_root

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
NAMESAKE: Final = str(Path(__file__).with_name("namesake.py"))
NOTICED: Final = 1  # seconds; the library would else read its setting at each look at any clock
_UPTIME: Final = 5.0  # seconds, of a machine that has just booted


def monotonic_shifted(seconds: float) -> tuple[str, ...]:
    """The words before a command whose monotonic clock shows so much more."""
    words = ("unshare", "-T", f"--monotonic={seconds:.0f}", f"--boottime={seconds:.0f}")
    _needs(words)
    return words


def rebooted(folder: Path) -> tuple[str, ...]:
    """The words before a command that finds the clock and the id of another boot."""
    boot_id = folder / f"boot-{secrets.token_hex(4)}"
    boot_id.write_text(f"{uuid4()}\n")
    bound = f'mount --bind {boot_id} {BOOT_ID} && exec "$@"'
    words = (*monotonic_shifted(_UPTIME - time.monotonic()), "-m", "sh", "-c", bound, "sh")
    _needs(words)
    return words


def _needs(words: tuple[str, ...]) -> None:
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"the kernel lets this user do no `{words[0]} {words[1]}`: {tried.stderr!r}")


@contextmanager
def namesake(pid: int) -> Iterator[None]:
    """An innocent process that has this id while the block lasts, and must outlive it."""
    argv = [sys.executable, "-I", "-S", NAMESAKE, str(pid)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:
        assert made.stdout is not None
        said = made.stdout.readline().strip()
        if said != "born":
            pytest.skip(f"nobody can be process {pid} here: {said}")
        yield
        told, _ = made.communicate(timeout=5)
        assert told == "alive\n", "an innocent process was ended"


@dataclass(frozen=True)
class WallClock:
    """The wall clock of the processes that get its environment; their other clocks stay."""

    library: Path
    setting: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.setting),
            "FAKETIME_CACHE_DURATION": str(NOTICED),
            "FAKETIME_DISABLE_SHM": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds: float) -> None:
        """Let it show so much more than the machine's own; noticed within NOTICED."""
        fresh = self.setting.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}\n")
        fresh.rename(self.setting)


@asynccontextmanager
async def wall_clock(folder: Path) -> AsyncIterator[WallClock]:
    """A wall clock that can be set, from the distribution's libfaketime."""
    root = cache_root(os.environ) / "programs" / "libfaketime"
    if not root.exists():
        if not can_fetch(os.environ):
            pytest.skip("libfaketime is the distribution's, and only root can fetch it")
        await fetch_programs(Apt(os.environ), ["libfaketime"], root)
    library = next(root.glob("usr/lib/**/libfaketime.so.1"))
    clock = WallClock(library, folder / "wall-clock")
    clock.set(0)
    there = _shared()
    yield clock
    for path in _shared() - there:
        path.unlink(missing_ok=True)


def _shared() -> set[Path]:
    """What the library's processes share, and leave when they are killed."""
    found = Path("/dev/shm").glob("*faketime_s*_*")
    return {path for path in found if not Path(f"/proc/{path.name.rpartition('_')[2]}").exists()}
