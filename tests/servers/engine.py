"""A stand-in for a Docker Engine on loopback: it answers a build or a push with a scripted stream."""

import base64
import json
import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

HEAD_MAX = 64 * 1024
IMAGE_ID = f"sha256:{'1' * 64}"
DIGEST = f"sha256:{'d' * 64}"

# How a stream ends: as it should; with the connection lost in the middle of it; without a length,
# so that losing it looks like the end; never.
End = Literal["whole", "cut", "close", "hang"]


def image(image_id: str = IMAGE_ID, architecture: str = "amd64") -> dict[str, object]:
    """What an engine says of an image."""
    return {"Id": image_id, "Os": "linux", "Architecture": architecture, "Size": 42}


@dataclass(slots=True, kw_only=True)
class StandIn:
    """What it answers, and what it was asked."""

    lines: Sequence[str | bytes] = ()
    status: int = 200  # of the build or push; from 400 on the one line is the whole answer
    end: End = "whole"
    images: dict[str, dict[str, object]] = field(default_factory=dict)
    version: object = field(
        default_factory=lambda: {
            "Version": "20.10.24",
            "ApiVersion": "1.41",
            "Components": [{"Name": "Engine"}],
        }
    )
    info: dict[str, object] = field(default_factory=dict)
    load: "StandIn | None" = None  # how a load is answered; None: as a build is
    silent: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)
    logins: list[dict[str, str]] = field(default_factory=list)
    received: int = 0  # bytes of build contexts
    gone: anyio.Event = field(default_factory=anyio.Event)  # a client left a stream

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(stand_in: StandIn) -> AsyncIterator[StandIn]:
    """Serve until the block ends."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    stand_in.port = listener.extra(SocketAttribute.local_port)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                while await _converse(stand_in, stream, BufferedByteReceiveStream(stream)):
                    pass
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return  # the client has gone

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield stand_in
        tasks.cancel_scope.cancel()


async def _converse(
    stand_in: StandIn, stream: SocketStream, incoming: BufferedByteReceiveStream
) -> bool:
    head = (await incoming.receive_until(b"\r\n\r\n", HEAD_MAX)).decode("latin-1")
    line, *headers = head.split("\r\n")
    method, target, _ = line.split(" ", 2)
    path = re.sub(r"^/v[\d.]+", "", target)
    stand_in.asked.append(f"{method} {path}")
    if stand_in.silent:
        await anyio.sleep(math.inf)
    if any(header.lower() == "transfer-encoding: chunked" for header in headers):
        stand_in.received += await _drain(incoming)
    for header in headers:
        name, _, value = header.partition(": ")
        if name.lower() == "x-registry-auth":
            stand_in.logins.append(json.loads(base64.urlsafe_b64decode(value)))
    return await _answer(stand_in, stream, method, path)


async def _drain(incoming: BufferedByteReceiveStream) -> int:
    total = 0
    while size := int(await incoming.receive_until(b"\r\n", HEAD_MAX), 16):
        await incoming.receive_exactly(size + 2)
        total += size
    await incoming.receive_exactly(2)
    return total


async def _answer(stand_in: StandIn, stream: SocketStream, method: str, target: str) -> bool:
    path, _, query = target.partition("?")
    if path == "/version":
        return await _json(stream, 200, stand_in.version)
    if path == "/info":
        return await _json(stream, 200, stand_in.info)
    if path == "/images/load":
        return await _stream(stand_in.load or stand_in, stream)
    if path == "/build" or path.endswith("/push"):
        return await _stream(stand_in, stream)
    name = path.removeprefix("/images/")
    if path.endswith("/history"):
        return await _json(stream, 200, [])
    if method == "GET":
        found = _found(stand_in, name.removesuffix("/json"))
        return await _json(stream, 200 if found else 404, found or {"message": "No such image"})
    if path.endswith("/tag"):
        return await _tag(stand_in, stream, name.removesuffix("/tag"), query)
    known = stand_in.images.pop(name, None)
    return await _json(stream, 200 if known else 404, [] if known else {"message": "none"})


def _found(stand_in: StandIn, name: str) -> dict[str, object] | None:
    by_id = (each for each in stand_in.images.values() if each["Id"] == name)
    return stand_in.images.get(name) or next(by_id, None)


async def _tag(stand_in: StandIn, stream: SocketStream, name: str, query: str) -> bool:
    found = _found(stand_in, name)
    if found is None:
        return await _json(stream, 404, {"message": "No such image"})
    words = dict(parse_qsl(query))
    stand_in.images[f"{words['repo']}:{words['tag']}"] = found
    return await _json(stream, 201, {})


async def _json(stream: SocketStream, status: int, body: object) -> bool:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
    await stream.send(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return True


async def _stream(stand_in: StandIn, stream: SocketStream) -> bool:
    lines = [line if isinstance(line, bytes) else line.encode() for line in stand_in.lines]
    if stand_in.status != 200:
        return await _json(stream, stand_in.status, json.loads(lines[0]))
    chunked = stand_in.end != "close"
    coding = "Transfer-Encoding: chunked" if chunked else "Connection: close"
    await stream.send(
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{coding}\r\n\r\n".encode()
    )
    for line in lines:
        data = line + b"\r\n"
        await stream.send(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
    if stand_in.end == "hang":
        await _until_gone(stand_in, stream)
    if stand_in.end == "whole":
        await stream.send(b"0\r\n\r\n")
    return stand_in.end == "whole"


async def _until_gone(stand_in: StandIn, stream: SocketStream) -> None:
    try:
        await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        stand_in.gone.set()
