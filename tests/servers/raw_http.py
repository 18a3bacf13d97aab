"""An HTTP server on loopback that answers byte by byte what a test has scripted, faults included."""

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

TLS_DIR = Path(__file__).parent / "tls"
CA_FILE = TLS_DIR / "server.pem"  # signs itself
HEAD_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for so long; math.inf waits until the client goes."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with RST instead of FIN."""


@dataclass(frozen=True, slots=True)
class Drip:
    """Send these bytes one by one."""

    data: bytes
    pause: float  # seconds after each


@dataclass(frozen=True, slots=True)
class Flood:
    """Send so many bytes of filler."""

    size: int


Step = bytes | Pause | Reset | Drip | Flood


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived, whole."""

    method: str
    path: str  # with its query
    headers: dict[str, str]  # names in small letters
    body: bytes
    raw: bytes


Respond = Callable[[Request], Sequence[Step]]


@dataclass(slots=True)
class RawServer:
    """Where it listens, and what it saw."""

    respond: Respond
    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"
    connections: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"


def answer(
    status: int = 200, body: bytes | Mapping[str, object] | list[object] = b"", **headers: str
) -> bytes:
    """A whole response; what is not bytes goes as JSON. `retry_after=` becomes `retry-after:`."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json"}
    sent |= {name.replace("_", "-").lower(): value for name, value in headers.items()}
    sent["content-length"] = str(len(data))
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data


@asynccontextmanager
async def raw_server(
    respond: Respond | Step,
    *,
    tls: ssl.SSLContext | None = None,
    blurt: bytes = b"",
    keep: bool = False,
) -> AsyncIterator[RawServer]:
    """Serve until the block ends; a single step is the answer to each request.

    `blurt` is sent before anything is read; `keep`: more than one request a connection.
    """
    server = RawServer(respond if callable(respond) else lambda _: [respond])
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(SocketAttribute.local_port)
    server.scheme = "https" if tls else "http"

    async def serve(stream: SocketStream) -> None:
        server.connections += 1
        async with stream:
            try:
                await stream.send(blurt)
                wire = await _wrap(stream, tls)
                while await _converse(server, wire, stream) and keep:
                    pass
            # What a client does that gives up in the middle.
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
            except (anyio.EndOfStream, anyio.IncompleteRead, ssl.SSLError):
                return

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield server
        tasks.cancel_scope.cancel()


def server_tls() -> ssl.SSLContext:
    """A context whose certificate is for 127.0.0.1 and trusted by `CA_FILE` alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CA_FILE, TLS_DIR / "server.key")
    return context


async def _wrap(stream: SocketStream, tls: ssl.SSLContext | None) -> ByteStream:
    if tls is None:
        return stream
    return await TLSStream.wrap(
        stream, ssl_context=tls, server_side=True, standard_compatible=False
    )


async def _converse(server: RawServer, wire: ByteStream, stream: SocketStream) -> bool:
    """Answer one request; whether the connection is still there."""
    request = await _read(wire)
    server.requests.append(request)
    for step in server.respond(request):
        await perform(step, wire, stream)
        if isinstance(step, Reset):
            return False
    return True


async def _read(wire: ByteStream) -> Request:
    incoming = BufferedByteReceiveStream(wire)
    return await read(await incoming.receive_until(b"\r\n\r\n", HEAD_MAX), incoming)


async def read(head: bytes, incoming: BufferedByteReceiveStream) -> Request:
    """The request that begins with `head`, without the empty line behind it."""
    line, *rest = head.decode("latin-1").split("\r\n")
    method, path, _ = line.split(" ", 2)
    pairs = (header.partition(":") for header in rest)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(incoming)
    else:
        body = await incoming.receive_exactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body, head + b"\r\n\r\n" + body)


async def _chunks(incoming: BufferedByteReceiveStream) -> bytes:
    """A body of unknown length, as it came."""
    body = b""
    while True:
        line = await incoming.receive_until(b"\r\n", HEAD_MAX) + b"\r\n"
        body += line + await incoming.receive_exactly(int(line, 16) + 2)
        if not int(line, 16):
            return body


async def perform(step: Step, wire: ByteStream, stream: ByteStream) -> None:
    """Carry out one step on `wire`, which goes over the connection `stream`."""
    match step:
        case Pause(seconds):
            await anyio.sleep(seconds)
        case Reset():
            await reset(stream)
        case Drip(data, pause):
            for number in range(len(data)):
                await wire.send(data[number : number + 1])
                await anyio.sleep(pause)
        case Flood(size):
            for _ in range(0, size, 65536):
                await wire.send(b" " * 65536)
        case bytes():
            await wire.send(step)


async def reset(stream: ByteStream) -> None:
    """End a connection with RST."""
    # Linger 0: the kernel answers with RST and drops what was not sent.
    raw = stream.extra(SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(stream)
