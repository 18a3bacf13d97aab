"""HTTP servers on 127.0.0.1, and answers that break on purpose."""

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler

from deployer.sandbox.refusal import Refused

HOST: Final = "127.0.0.1"
_STOP_SECONDS: Final = 1.0
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Door:
    """A server's listening socket, which can be closed and opened again on the same port."""

    def __init__(self, app: web.Application, port: int) -> None:
        app.middlewares.insert(0, _unoffended)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        self._site: web.TCPSite | None = None
        self.port = port  # 0 until the first opening, if the kernel chooses

    async def start(self) -> None:
        """Open for the first time; raise Refused if something else has the port."""
        await self._runner.setup()
        await self.open()

    async def open(self) -> None:
        """Listen; nothing happens if it does already."""
        if self._site is not None:
            return
        site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise Refused(
                f"Port {self.port} is taken: end what uses it, or pass another --port (0: any)."
            ) from error
        self._site, self.port = site, self._runner.addresses[0][1]

    async def close(self) -> None:
        """Refuse connections from now on."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()

    async def stop(self) -> None:
        """End the server and each connection."""
        await self._runner.cleanup()


@web.middleware
async def _unoffended(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whoever asked may be killed in the middle: that is no error to print a traceback for."""
    try:
        return await handler(request)
    except ConnectionError:
        return web.Response()  # goes nowhere


@asynccontextmanager
async def served(app: web.Application, port: int) -> AsyncIterator[Door]:
    """Serve `app` on loopback until the block ends."""
    door = Door(app, port)
    try:
        await door.start()
        yield door
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(_STOP_SECONDS * 2):
            await door.stop()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def hang_up(request: web.Request, *, reset: bool = False) -> web.Response:
    """Close the connection in place of an answer; with `reset`, by RST."""
    transport = request.transport
    if transport is not None:
        plug = transport.get_extra_info("socket")
        if reset and plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()
    return web.Response()  # goes nowhere


def halved(answer: web.Response) -> web.Response:
    """The first half of an answer, as if it were whole."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    return web.Response(
        status=answer.status, body=body[: len(body) // 2], content_type=answer.content_type
    )


async def dribbled(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Send an answer at two bytes a second."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    slow = web.StreamResponse(status=answer.status)
    slow.content_type, slow.content_length = answer.content_type, len(body)
    await slow.prepare(request)
    for start in range(0, len(body), 2):
        await slow.write(body[start : start + 2])
        await anyio.sleep(1)
    await slow.write_eof()
    return slow
