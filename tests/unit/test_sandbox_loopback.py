"""The sandbox's servers, and clients that do not wait for the answer."""

import logging

import anyio
import pytest
from aiohttp import web

from deployer.sandbox.loopback import HOST, served

pytestmark = pytest.mark.anyio


async def test_a_client_that_is_killed_in_its_question_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    over = anyio.Event()

    async def read(request: web.Request) -> web.Response:
        try:
            await request.read()
        finally:
            over.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", read)
    with caplog.at_level(logging.WARNING):
        async with served(app, 0) as door:
            async with await anyio.connect_tcp(HOST, door.port) as client:
                await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
                await anyio.sleep(0.05)
            with anyio.fail_after(2):
                await over.wait()
            await anyio.sleep(0.05)

    assert not caplog.records
