"""The sandbox's own engine and registry, killed with -9 and started again as they were."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

GONE_SECONDS: Final = 15.0  # a stopping engine gives its containers time


@dataclass
class Daemon:
    """A program that the sandbox of this process runs, below a life line."""

    name: str
    log: Path
    line: tuple[int, tuple[str, ...], dict[str, str]]  # the life line: id, words, environment
    successor: Process | None = None

    @property
    def pid(self) -> int | None:
        """The program itself, while it runs."""
        return next((pid for pid in _children(self._line) if _name(pid) == self.name), None)

    @property
    def _line(self) -> int:
        return self.successor.pid if self.successor else self.line[0]

    async def die(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it alone a signal, until it is gone; what belongs to it goes by itself."""
        pid = self.pid
        assert pid is not None
        os.kill(pid, number)
        with anyio.fail_after(GONE_SECONDS):
            while Path(f"/proc/{pid}/exe").exists():  # noqa: ASYNC110, ASYNC240
                await anyio.sleep(0.02)

    async def rise(self) -> None:
        """Start it again, with the same words."""
        _, words, environment = self.line
        await self._bury()
        with self.log.open("ab") as sink:
            self.successor = await anyio.open_process(
                words, env=environment, stdout=sink, stderr=sink, start_new_session=True
            )

    async def _bury(self) -> None:
        if self.successor is not None and self.successor.stdin is not None:
            await self.successor.stdin.aclose()  # its life line
            await self.successor.wait()


@asynccontextmanager
async def daemon(name: str, folder: Path) -> AsyncIterator[Daemon]:
    """The one of this name below this process that works in `folder`; its successor ends here."""
    found = Daemon(name, folder / f"{name}-again.log", _life_line(name, folder))
    try:
        yield found
    finally:
        with anyio.CancelScope(shield=True):
            await found._bury()


def _life_line(name: str, folder: Path) -> tuple[int, tuple[str, ...], dict[str, str]]:
    lines = [pid for pid in _children(os.getpid(), deep=False) if _is_of(pid, name, folder)]
    assert len(lines) == 1, f"no {name} of our own: {lines}"
    words = tuple(Path(f"/proc/{lines[0]}/cmdline").read_text().split("\0")[:-1])
    pairs = Path(f"/proc/{lines[0]}/environ").read_text().split("\0")[:-1]
    return lines[0], words, dict(pair.partition("=")[::2] for pair in pairs)


def _is_of(pid: int, name: str, folder: Path) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    program = next((word for word in words if Path(word).name == name), "")
    return bool(program) and any(str(folder) in word for word in words)


def _children(parent: int, *, deep: bool = True) -> Iterator[int]:
    for thread in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            for pid in map(int, thread.read_text().split()):
                yield pid
                if deep:
                    yield from _children(pid)


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
