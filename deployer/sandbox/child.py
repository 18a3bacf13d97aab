"""Programs that the sandbox starts: bound to its life, their output in a file."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

from deployer.sandbox import lifeline
from deployer.sandbox.refusal import Refused

# A little more than lifeline's own grace: it ends the program, we only wait for it.
STOP_SECONDS: Final = lifeline.GRACE + 0.9
TAIL_LINES: Final = 5


@asynccontextmanager
async def bound(
    argv: Sequence[str], *, env: Mapping[str, str], log: Path, private: Sequence[Path] = ()
) -> AsyncIterator[Process]:
    """Run `argv` until the block ends, or until this process dies in whatever way.

    `private` are folders that the program sees as empty ones of its own; see lifeline.
    """
    guard = [sys.executable, "-I", lifeline.__file__, *map(str, private), "--", *argv]
    with log.open("ab") as sink:
        process = await anyio.open_process(
            guard, stdout=sink, stderr=sink, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        with anyio.move_on_after(STOP_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def tail(log: Path) -> str:
    """The last lines of a program's output, for a message."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-TAIL_LINES:])


async def output(argv: Sequence[str], *, what: str, env: Mapping[str, str] | None = None) -> bytes:
    """Run a short program to its end and return its stdout; raise Refused if it fails."""
    try:
        done = await anyio.run_process(list(argv), env=env, check=False)
    except OSError as error:
        raise Refused(f"{what} failed: {argv[0]}: {error.strerror}.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise Refused(f"{what} failed with exit code {done.returncode}: {said[-1]}")
    return done.stdout
