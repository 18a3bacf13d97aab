"""Things that take time and are made once for all sandboxes, complete or not at all."""

import fcntl
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio


@asynccontextmanager
async def making(target: Path) -> AsyncIterator[Path | None]:
    """An empty folder beside `target` to make it in; None if it is there by now.

    One process at a time makes it, the others wait. What a killed maker left is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f"{target.name}.new")
    with target.with_name(f"{target.name}.lock").open("a") as lock:
        while not _locked(lock.fileno()):  # noqa: ASYNC110  # a file lock wakes nobody
            await anyio.sleep(0.2)
        if await anyio.Path(target).exists():
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
