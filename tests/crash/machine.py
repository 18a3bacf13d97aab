"""What a machine does to processes: other clocks, another boot, a process id that comes again."""

import secrets
import subprocess  # noqa: TID251  # short, and beside the loop
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
NAMESAKE: Final = str(Path(__file__).with_name("namesake.py"))
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
