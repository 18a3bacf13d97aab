"""A door before a server that passes everything on, and counts the requests that go in."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketStream

_END_SECONDS = 2.0
_REQUEST = re.compile(rb"^(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r\n")


@dataclass
class Heard:
    """What went in through one door."""

    address: str
    requests: list[str] = field(default_factory=list)
    received: int = 0  # bytes

    def count(self, word: str) -> int:
        """How many requests hold `word`."""
        return sum(word in request for request in self.requests)

    def take(self, chunk: bytes) -> None:
        """Hear a piece. A request begins a piece of its own: nobody pipelines here."""
        self.received += len(chunk)
        if found := _REQUEST.match(chunk):
            self.requests.append(f"{found[1].decode()} {found[2].decode()}")


@asynccontextmanager
async def engine_door(endpoint: str, at: Path) -> AsyncIterator[Heard]:
    """A door before an engine's socket."""
    listener = await anyio.create_unix_listener(at)
    async with _opened(
        listener,
        Heard(f"unix://{at}"),
        lambda: anyio.connect_unix(endpoint.removeprefix("unix://")),
    ) as heard:
        yield heard


@asynccontextmanager
async def registry_door(registry: str) -> AsyncIterator[Heard]:
    """A door before a registry on loopback."""
    host, _, port = registry.rpartition(":")
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    here = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
    async with _opened(listener, Heard(here), lambda: anyio.connect_tcp(host, int(port))) as heard:
        yield heard


@asynccontextmanager
async def _opened(
    listener: Listener[SocketStream], heard: Heard, connect: Callable[[], Awaitable[ByteStream]]
) -> AsyncIterator[Heard]:
    open_ones = 0

    async def serve(client: ByteStream) -> None:
        nonlocal open_ones
        open_ones += 1
        try:
            await pass_on(client)
        finally:
            open_ones -= 1

    async def pass_on(client: ByteStream) -> None:
        server = await connect()
        async with client, server, anyio.create_task_group() as both:

            async def copy(source: ByteStream, sink: ByteStream, hear: bool) -> None:
                # Whichever side goes, the other one hears of it and goes too: nothing is cancelled.
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                    async for chunk in source:
                        if hear:
                            heard.take(chunk)
                        await sink.send(chunk)
                    await sink.send_eof()

            both.start_soon(copy, client, server, True)
            both.start_soon(copy, server, client, False)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield heard
        # A socket of anyio 4 that becomes readable as it is cancelled raises InvalidStateError.
        with anyio.move_on_after(_END_SECONDS):
            while open_ones:  # noqa: ASYNC110  # of connections that others close
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
