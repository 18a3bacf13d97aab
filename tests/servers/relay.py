"""What stands between a client and an engine's socket, and hears both."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute

# Takes a chunk and whether the engine sent it, before it is handed on; True: it is the last one.
Hear = Callable[[bytes, bool], bool]


@asynccontextmanager
async def relaying(endpoint: str, at: Path, hear: Hear) -> AsyncIterator[str]:
    """The endpoint of a door at `at`; who dies behind it is dead before it, too."""

    async def talk(client: ByteStream) -> None:
        async with client:
            try:
                engine = await anyio.connect_unix(endpoint.removeprefix("unix://"))
            except OSError:
                return
            async with engine, anyio.create_task_group() as both:
                both.start_soon(copy, client, engine, False)
                both.start_soon(copy, engine, client, True)

    async def copy(source: ByteStream, sink: ByteStream, is_answer: bool) -> None:
        try:
            async for chunk in source:
                is_last = hear(chunk, is_answer)
                await sink.send(chunk)
                if is_last:
                    break
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # one side has gone; the other goes with it
        _hang_up(source, sink)

    listener = await anyio.create_unix_listener(at)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, talk)
        yield f"unix://{at}"
        tasks.cancel_scope.cancel()


def _hang_up(*streams: ByteStream) -> None:
    """Let who reads from these sockets find their end.

    Not by cancelling: anyio 4.16 stumbles over a Unix socket that becomes readable in the moment in
    which its reading is cancelled (InvalidStateError, seen here).
    """
    for each in streams:
        with suppress(OSError):  # it has gone by itself
            each.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)
