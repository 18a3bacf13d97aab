"""A TCP proxy on loopback that lets only so many bytes a second towards the server."""

import sys
import time

import anyio
from anyio.abc import SocketAttribute, SocketStream

_PIECE = 64 * 1024
# A sender that is late by a timer's tick has filled the line's buffer meanwhile: without it one
# stream got 10.4 of 12.5 MB/s, and several together all of it (measured).
_BUFFER_SECONDS = 0.02


class Line:
    """One uplink, shared by all connections."""

    def __init__(self, rate: float) -> None:
        """Let `rate` bytes a second pass."""
        self._rate = rate
        self._free_at = 0.0

    async def pass_on(self, size: int) -> None:
        """Wait until `size` more bytes may pass."""
        now = time.monotonic()
        self._free_at = max(now - _BUFFER_SECONDS, self._free_at) + size / self._rate
        await anyio.sleep(max(0.0, self._free_at - now))


async def _pump(source: SocketStream, sink: SocketStream, line: Line | None) -> None:
    try:
        async for piece in source:
            for at in range(0, len(piece), _PIECE):
                part = piece[at : at + _PIECE]
                if line is not None:
                    await line.pass_on(len(part))
                await sink.send(part)
        await sink.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await anyio.aclose_forcefully(sink)


async def main(host: str, port: int, rate: float) -> None:
    """Serve until the process is ended; the port is printed first."""
    line = Line(rate)

    async def serve(client: SocketStream) -> None:
        async with (
            client,
            await anyio.connect_tcp(host, port) as server,
            anyio.create_task_group() as group,
        ):
            group.start_soon(_pump, client, server, line)
            group.start_soon(_pump, server, client, None)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    sys.stdout.write(f"{listener.extra(SocketAttribute.local_port)}\n")  # noqa: S610
    sys.stdout.flush()
    await listener.serve(serve)


if __name__ == "__main__":
    _host, _, _port = sys.argv[1].partition(":")
    anyio.run(main, _host, int(_port), float(sys.argv[2]))
