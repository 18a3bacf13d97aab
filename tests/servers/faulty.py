"""A door before a server on loopback that breaks what goes through it, as networks and proxies do.

Each connection carries one exchange: the door asks the server to close behind its answer, so a
fault can be aimed at single requests.
"""

import math
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AsyncExitStack,
    ExitStack,
    aclosing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.servers.raw_http import HEAD_MAX, Request, Respond, Step, answer, perform, read, reset

Lane = Literal["up", "down"]  # to the server; to the client
_GONE: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    OSError,
)
_CONNECTION: Final = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Blackhole:
    """A connection is never answered."""


@dataclass(frozen=True, slots=True)
class Hangup:
    """Accepts, and resets at once."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends both sides after so many bytes of a lane, by FIN or by RST."""

    lane: Lane
    after: int
    by_reset: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """Passes so many bytes of a lane on, and then nothing, for ever."""

    lane: Lane
    after: int


@dataclass(frozen=True, slots=True)
class Slow:
    """Passes so many bytes a second."""

    lane: Lane
    rate: int


@dataclass(frozen=True, slots=True)
class Late:
    """Delays each piece of both lanes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Changes the byte of a lane that comes after so many others."""

    lane: Lane
    after: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers in the server's place: it never hears of the request."""

    respond: Respond


@dataclass(frozen=True, slots=True)
class Garble:
    """Lets the server do what it is asked, and makes something else of its answer."""

    made: Callable[[bytes], Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Redirect:
    """Sends the client on to another server."""

    status: int


Fault = (
    Refuse | Blackhole | Hangup | Cut | Stall | Slow | Late | Corrupt | Answer | Garble | Redirect
)


@dataclass(slots=True)
class Door:
    """Breaks what its fault says, while there is one."""

    upstream: int | Path  # a port, or a socket
    listen: Callable[[], Awaitable[Listener[ByteStream]]]
    tasks: TaskGroup
    port: int = 0
    elsewhere: str = ""  # the URL of the server that a redirect names
    struck: int = 0
    _fault: Fault | None = None
    _route: re.Pattern[str] = field(default_factory=lambda: re.compile(""))
    _left: float = math.inf  # strikes
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def break_with(self, fault: Fault, route: str = "", strikes: int | None = None) -> None:
        """From now on; `route`: what `METHOD path` must begin with, as a regular expression."""
        await self.close()
        self._fault, self._route = fault, re.compile(route)
        self._left = math.inf if strikes is None else strikes
        match fault:
            case Refuse():
                self._strikes()
            case Blackhole():
                self._strikes()
                self._open.enter_context(_deaf(self.port))
            case _:
                await self.open()

    async def heal(self) -> None:
        """Pass everything on again."""
        await self.close()
        self._fault = None
        await self.open()

    async def open(self) -> None:
        """Listen."""
        listener, serving, ended = await self.listen(), anyio.CancelScope(), anyio.Event()

        async def serve() -> None:
            # However it ends, by `close` or with `tasks`: the socket is closed here.
            with serving:
                async with listener:
                    await listener.serve(self._serve)
            ended.set()

        async def stop() -> None:
            serving.cancel()
            await ended.wait()

        self.tasks.start_soon(serve)
        self._open.push_async_callback(stop)

    async def close(self) -> None:
        """End the listening and each connection."""
        await self._open.aclose()

    async def _connect(self) -> ByteStream:
        if isinstance(self.upstream, Path):
            return await anyio.connect_unix(self.upstream)
        return await anyio.connect_tcp("127.0.0.1", self.upstream)

    def _strikes(self) -> None:
        self.struck += 1
        self._left -= 1

    async def _serve(self, client: ByteStream) -> None:
        try:
            async with client:
                await self._converse(client)
        except _GONE:
            pass  # nobody is there any more whom it could matter to

    async def _converse(self, client: ByteStream) -> None:
        if isinstance(self._fault, Hangup) and self._left > 0:
            self._strikes()
            await reset(client)
            return
        incoming = BufferedByteReceiveStream(client)
        head = await incoming.receive_until(b"\r\n\r\n", HEAD_MAX)
        line = head.partition(b" HTTP/")[0].decode("latin-1")
        fault = self._fault if self._left > 0 and self._route.match(line) else None
        if isinstance(fault, Answer | Garble | Redirect):
            await self._answer(fault, await read(head, incoming), client)
        else:
            await self._relay(fault, _closing(head), incoming, client)

    async def _answer(
        self, fault: Answer | Garble | Redirect, request: Request, client: ByteStream
    ) -> None:
        self._strikes()
        for step in await self._steps(fault, request):
            await perform(step, client, client)

    async def _steps(self, fault: Answer | Garble | Redirect, request: Request) -> Sequence[Step]:
        match fault:
            case Answer(respond):
                return respond(request)
            case Garble(made):
                return made(await self._carried_out(request))
            case Redirect(status):
                return [answer(status, location=f"{self.elsewhere}/elsewhere")]

    async def _carried_out(self, request: Request) -> bytes:
        head, _, body = request.raw.partition(b"\r\n\r\n")
        async with await self._connect() as server:
            await server.send(_closing(head) + body)
            return b"".join([piece async for piece in server])

    async def _relay(
        self,
        fault: Fault | None,
        head: bytes,
        incoming: BufferedByteReceiveStream,
        client: ByteStream,
    ) -> None:
        async with await self._connect() as server, anyio.create_task_group() as both:

            async def pump(lane: Lane, source: AsyncIterator[bytes], sink: ByteStream) -> None:
                with suppress(*_GONE):  # one side has gone, the other goes with it
                    async with aclosing(self._broken(fault, lane, source)) as pieces:
                        async for piece in pieces:
                            await sink.send(piece)
                    if isinstance(fault, Cut) and fault.by_reset:
                        await reset(client)
                both.cancel_scope.cancel()

            both.start_soon(pump, "up", _after(head, incoming), server)
            both.start_soon(pump, "down", aiter(server), client)

    async def _broken(
        self, fault: Fault | None, lane: Lane, source: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a lane, and what the fault makes of them."""
        passed = 0
        async for piece in source:
            last = passed + len(piece)
            match fault:
                case Cut(where, after) | Stall(where, after) if where == lane and last > after:
                    self._strikes()
                    yield piece[: after - passed]
                    if isinstance(fault, Stall):
                        await anyio.sleep_forever()
                    return
                case Corrupt(where, after) if where == lane and passed <= after < last:
                    self._strikes()
                    at = after - passed
                    yield piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
                case Slow(where, rate) if where == lane:
                    self._strikes()
                    for begin in range(0, len(piece), rate):
                        yield piece[begin : begin + rate]
                        await anyio.sleep(1)
                case Late(seconds):
                    self._strikes()
                    await anyio.sleep(seconds)
                    yield piece
                case _:
                    yield piece
            passed = last


def _closing(head: bytes) -> bytes:
    """The head of a request, whole, that asks for the connection's end."""
    return _CONNECTION.sub(b"", head) + b"\r\nConnection: close\r\n\r\n"


async def _after(head: bytes, rest: BufferedByteReceiveStream) -> AsyncIterator[bytes]:
    yield head
    async for piece in rest:
        yield piece


@contextmanager
def _deaf(port: int) -> Iterator[None]:
    """Listen at `port` with a queue that is full: the kernel drops whatever else comes."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield


async def tcp_door(tasks: TaskGroup, upstream: int | Path) -> Door:
    """A door before a port or a socket, whole at first; it works in `tasks` until it is closed."""

    async def listen() -> Listener[ByteStream]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=door.port)
        door.port = listener.extra(SocketAttribute.local_port)
        return listener

    door = Door(upstream, listen, tasks)
    await door.open()
    return door


async def unix_door(tasks: TaskGroup, upstream: int | Path, at: Path) -> Door:
    """The same at the path `at`.

    Its clients must live in this loop: anyio 4.16 stumbles over another process that closes a Unix
    socket in the moment in which its reading is cancelled (InvalidStateError, seen here).
    """

    async def listen() -> Listener[ByteStream]:
        await anyio.Path(at).unlink(missing_ok=True)
        return await anyio.create_unix_listener(at)

    door = Door(upstream, listen, tasks)
    await door.open()
    return door
