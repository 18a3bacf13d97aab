"""Runs a program under the guard: bounded lines out, and nothing left alive behind it."""

import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE  # noqa: TID251  # the constant alone; anyio.open_process takes it
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from deployer.adapters.process import session

GUARD: Final = Path(__file__).with_name("guard.py")
LINE_MAX: Final = 1 << 20  # bytes that are kept of one line
# The guard needs two seconds for programs that ignore TERM, and one for them to vanish.
GUARD_SECONDS: Final = 6.0
# A daemon that the program started may hold its pipes open for ever.
DRAIN_SECONDS: Final = 2.0

# Takes chunks as they come; an empty one says that the stream has ended.
Sink = Callable[[bytes], None]
# Awaited beside the program with its session's number; the program is ended when it returns.
Watch = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The system refused to start the guard."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program to run. The first word of `command` is an absolute path."""

    command: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    stdout: Sink
    stderr: Sink


class LineSplitter:
    """A sink that cuts its chunks at separators; of each line it hands on the first MiB."""

    def __init__(self, separators: bytes, hand_on: Callable[[bytes], None]) -> None:
        self._cut: Final = re.compile(b"[" + re.escape(separators) + b"]")
        self._hand_on: Final = hand_on
        self._line = bytearray()

    def __call__(self, chunk: bytes) -> None:
        """Take `chunk`; an empty one ends the last line. Empty lines are dropped."""
        first, *others = self._cut.split(chunk)
        self._keep(first)
        for piece in others:
            self._end_line()
            self._keep(piece)
        if not chunk:
            self._end_line()

    def _keep(self, piece: bytes) -> None:
        self._line += piece[: LINE_MAX - len(self._line)]

    def _end_line(self) -> None:
        if self._line:
            line = bytes(self._line)
            self._line.clear()
            self._hand_on(line)


async def run(job: Job, watch: Watch | None = None) -> int | NotStarted:
    """Run `job` to its end and return the exit status, as the guard tells it.

    However this is left, the program is gone then, and all of its session; a daemon is in another.
    """
    outcome: list[int | NotStarted] = []

    async def work() -> None:
        outcome.append(await _run(job, watch))

    # A second native cancel would cut a shield in the caller's own task; a child task gets none.
    async with anyio.create_task_group() as group:
        group.start_soon(work)
    return outcome[0]


async def _run(job: Job, watch: Watch | None) -> int | NotStarted:
    try:
        process = await _start(job)
    except OSError as error:
        return NotStarted(f"{error.strerror or error}")
    try:
        await _follow(process, job, watch)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)
    return process.returncode if process.returncode is not None else -9


async def _start(job: Job) -> Process:
    # Cancelled half-way, asyncio kills the guard: one that has just forked can't kill its child.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            [sys.executable, "-I", "-S", str(GUARD), *job.command],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=job.cwd,
            env=job.environment,
            start_new_session=True,
        )
    return process  # noqa: RET504  # mypy: a scope may swallow, so no return inside it


async def _follow(process: Process, job: Job, watch: Watch | None) -> None:
    """Return when the program has ended and its output is read, or when `watch` has returned."""
    async with anyio.create_task_group() as group:

        async def wait_with(watch: Watch) -> None:
            await watch(process.pid)
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as readers:
            for stream, sink in ((process.stdout, job.stdout), (process.stderr, job.stderr)):
                assert stream is not None  # noqa: S101  # for mypy: each was opened as a pipe
                readers.start_soon(_pump, stream, sink)
            if watch is not None:
                group.start_soon(wait_with, watch)
            await process.wait()
            _bury(process)
            readers.cancel_scope.deadline = anyio.current_time() + DRAIN_SECONDS
        group.cancel_scope.cancel()


async def _pump(stream: ByteReceiveStream, sink: Sink) -> None:
    async for chunk in stream:
        sink(chunk)
    sink(b"")


async def _end(process: Process) -> None:
    """End the guard, which ends its session; if it can't any more, do its work."""
    if process.returncode is None:
        _tell(process.terminate)
        with anyio.move_on_after(GUARD_SECONDS):
            await process.wait()
    if process.returncode is None:
        _tell(process.kill)
        await process.wait()
        _bury(process)
    await process.aclose()


def _bury(guard: Process) -> None:
    """Kill what a guard that was killed itself has left."""
    if guard.returncode is not None and guard.returncode < 0:
        session.kill(guard.pid)


def _tell(signal: Callable[[], None]) -> None:
    try:
        signal()
    except ProcessLookupError:
        return  # it has just ended by itself
