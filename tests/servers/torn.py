"""A door before a TCP server that counts what is sent through it, and tears one connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream, SocketAttribute

_STREAM_BROKE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


@dataclass
class Door:
    """What went through, and when it tears."""

    server: str  # `host:port`
    address: str = ""
    sent: int = 0  # bytes towards the server
    tears_at: int | None = None  # bytes that a connection sends; strikes once
    torn: int = 0  # connections

    async def serve(self, client: ByteStream) -> None:
        host, _, port = self.server.rpartition(":")
        server = await anyio.connect_tcp(host, int(port))
        async with client, server, anyio.create_task_group() as both:
            both.start_soon(self._there, client, server, both.cancel_scope)
            both.start_soon(self._back, server, client, both.cancel_scope)

    async def _there(
        self, client: ByteStream, server: ByteStream, scope: anyio.CancelScope
    ) -> None:
        mine = 0
        try:
            while True:
                piece = await client.receive()
                mine, self.sent = mine + len(piece), self.sent + len(piece)
                await server.send(piece)
                if self.tears_at is not None and mine >= self.tears_at:
                    self.tears_at, self.torn = None, self.torn + 1
                    break
        except _STREAM_BROKE:
            pass
        scope.cancel()

    async def _back(self, server: ByteStream, client: ByteStream, scope: anyio.CancelScope) -> None:
        try:
            while True:
                await client.send(await server.receive())
        except _STREAM_BROKE:
            scope.cancel()


@asynccontextmanager
async def door_before(server: str) -> AsyncIterator[Door]:
    """Serve until the block ends."""
    door = Door(server)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    door.address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, door.serve)
        yield door
        tasks.cancel_scope.cancel()
