"""Servers of this process that can die as if by `kill -9` and come back, and what they do when asked."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from deployer.sandbox.loopback import HOST

Act = Callable[[], Awaitable[None]]
_UPLOAD: Final = re.compile(r"/v2/.+/(?P<kind>blob|manifest)s/.*")


@dataclass
class Part:
    """A server at an address of its own: a socket's path, or a port of loopback."""

    app: web.Application
    path: Path | None = None
    port: int = 0  # the kernel's choice, and then kept
    gives_up: bool = False  # an engine ends the work of whoever hangs up; other servers go on
    _runner: web.AppRunner = field(init=False)
    _site: web.BaseSite | None = None

    @property
    def lives(self) -> bool:
        """Whether it listens."""
        return self._site is not None

    async def rise(self) -> None:
        """Listen; nothing happens if it does already."""
        if self._site is None:
            self._site = self._door()
            await self._site.start()
            if self.path is None:
                self.port = self._runner.addresses[0][1]

    def _door(self) -> web.BaseSite:
        if self.path is not None:
            return web.UnixSite(self._runner, str(self.path))
        return web.TCPSite(self._runner, HOST, self.port, reuse_address=True)

    async def die(self) -> None:
        """Listen no more, and cut each connection without a word."""
        site, self._site = self._site, None
        if site is None:
            return
        await site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def set_up(self) -> None:
        self._runner = web.AppRunner(
            self.app, access_log=None, shutdown_timeout=1.0, handler_cancellation=self.gives_up
        )
        await self._runner.setup()
        await self.rise()

    async def clean_up(self) -> None:
        await self._runner.cleanup()


@asynccontextmanager
async def risen(part: Part) -> AsyncIterator[Part]:
    """Serve it until the block ends."""
    await part.set_up()
    try:
        yield part
    finally:
        with anyio.CancelScope(shield=True):
            await part.clean_up()


@dataclass
class Script:
    """What happens around an answer, by the last word of its path, `blob` or `manifest`.

    An engine's own words are `build` and `push`, and `building` and `pushing` for the middle.
    """

    pauses: dict[str, float] = field(default_factory=dict)  # seconds that it is held back
    before: dict[str, Act] = field(default_factory=dict)  # once, before anything was done
    after: dict[str, Act] = field(default_factory=dict)  # once, when the work was done

    def middleware(self) -> Middleware:
        """Play it around each request."""

        @web.middleware
        async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
            name = named(request)
            await act(self.before, name)
            if _hung_up(request):
                return web.Response()  # who is dead does no work
            answer = await handler(request)
            await act(self.after, name)
            await anyio.sleep(self.pauses.get(name, 0.0))
            return answer

        return play


async def act(acts: dict[str, Act], name: str) -> None:
    """Play an act, if there is one by this name, and never again."""
    found = acts.pop(name, None)
    if found is not None:
        await found()


def named(request: web.Request) -> str:
    """What a script calls this request."""
    upload = _UPLOAD.fullmatch(request.path)
    if upload is not None:
        return upload["kind"] if request.method == "PUT" else ""
    return request.path.rpartition("/")[2]


def _hung_up(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
