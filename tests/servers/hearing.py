"""A door before an engine's socket that tells when a certain word has passed it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute


@dataclass
class Ear:
    """Waits for one word after another, in either direction."""

    endpoint: str = ""
    word: bytes = b""
    heard: anyio.Event = field(default_factory=anyio.Event)

    def listen(self, word: bytes) -> anyio.Event:
        """Set from the next time that it passes."""
        self.word, self.heard = word, anyio.Event()
        return self.heard

    def hear(self, chunk: bytes) -> None:
        if self.word and self.word in chunk:
            self.heard.set()


@asynccontextmanager
async def hearing(endpoint: str, at: Path) -> AsyncIterator[Ear]:
    """Serve the door at `at` until the block ends; who dies behind it is dead before it, too."""
    listener, ear = await anyio.create_unix_listener(at), Ear(f"unix://{at}")

    async def serve(client: ByteStream) -> None:
        async with client:
            try:
                engine = await anyio.connect_unix(endpoint.removeprefix("unix://"))
            except OSError:
                return
            async with engine, anyio.create_task_group() as both:

                async def copy(source: ByteStream, sink: ByteStream) -> None:
                    try:
                        async for chunk in source:
                            ear.hear(chunk)
                            await sink.send(chunk)
                    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                        pass  # one side has gone; the other goes with it
                    hang_up(client, engine)

                both.start_soon(copy, client, engine)
                both.start_soon(copy, engine, client)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield ear
        tasks.cancel_scope.cancel()


def hang_up(*streams: ByteStream) -> None:
    """Let who reads from these sockets find their end.

    Not by cancelling: anyio 4.16 stumbles over a Unix socket that becomes readable in the moment in
    which its reading is cancelled (InvalidStateError, seen here).
    """
    for each in streams:
        with suppress(OSError):  # it has gone by itself
            each.extra(SocketAttribute.raw_socket).shutdown(socket.SHUT_RDWR)
