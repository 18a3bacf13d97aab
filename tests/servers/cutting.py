"""A door before an engine's socket that cuts a conversation when it has heard a certain word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import ByteStream

from tests.servers.hearing import hang_up


@asynccontextmanager
async def cutting(endpoint: str, at: Path, word: bytes) -> AsyncIterator[str]:
    """The endpoint of the door; the engine's answer that holds `word` is its last."""
    listener = await anyio.create_unix_listener(at)

    async def serve(client: ByteStream) -> None:
        engine = await anyio.connect_unix(endpoint.removeprefix("unix://"))
        async with client, engine, anyio.create_task_group() as both:

            async def copy(source: ByteStream, sink: ByteStream, until: bytes | None) -> None:
                try:
                    async for chunk in source:
                        await sink.send(chunk)
                        if until and until in chunk:
                            break
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass  # one side has gone; the other goes with it
                hang_up(client, engine)

            both.start_soon(copy, client, engine, None)
            both.start_soon(copy, engine, client, word)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"unix://{at}"
        tasks.cancel_scope.cancel()
