"""The example web service: three tenants at once, one of them cancelled."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from deployer.sandbox.up import Sandbox

pytestmark = [pytest.mark.real, pytest.mark.anyio]

SERVICE = Path(__file__).parents[2] / "examples/web_service/main.py"
TENANTS = ("ten-abc123", "ten-def456", "ten-ghi789")


@asynccontextmanager
async def serving(sandbox: Sandbox, project: Path, folder: Path) -> AsyncIterator[str]:
    """The service in a process of its own; yields its URL."""
    env = {**os.environ, **sandbox.environment(), "STATE_DIR": str(folder / "state")}
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    command = [sys.executable, str(SERVICE), str(project), str(port)]
    async with await anyio.open_process(command, cwd=folder, env=env, stderr=None) as child:
        assert child.stdout is not None
        with anyio.fail_after(20):
            first = await TextReceiveStream(child.stdout).receive()
        yield first.split()[-1]
        child.send_signal(signal.SIGINT)
        await child.wait()


async def stream(client: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    async with client.post(url) as answer:
        return [json.loads(line) async for line in answer.content]


async def test_three_tenants_at_once_and_the_cancellation_of_one(
    sandbox: Sandbox, workspace: Path, tmp_path: Path
) -> None:
    # cargo has something to do for as long as it takes to cancel.
    (workspace / "core/build.rs").write_text(
        "fn main() { std::thread::sleep(std::time::Duration::from_secs(3)); }\n"
    )
    seen: dict[str, list[dict[str, Any]]] = {}
    async with (
        serving(sandbox, workspace, tmp_path) as url,
        aiohttp.ClientSession() as client,
    ):

        async def deploy(tenant: str) -> None:
            seen[tenant] = await stream(client, f"{url}/deploys/{tenant}")

        async with anyio.create_task_group() as group:
            for tenant in TENANTS:
                group.start_soon(deploy, tenant)
            await anyio.sleep(1.5)
            async with client.delete(f"{url}/deploys/{TENANTS[1]}") as answer:
                assert answer.status == 202
        resumed = await stream(client, f"{url}/resumes/{TENANTS[1]}")

    ends = [seen[tenant][-1]["state"] for tenant in TENANTS]
    assert ends == ["done", "cancelled", "done"], seen
    assert resumed[-1]["state"] == "done", resumed
    for tenant in TENANTS:
        assert {row["tenant"] for row in seen[tenant]} == {tenant}
    assert [row["event"] for row in seen[TENANTS[1]][:-1]][-1] == "RunInterrupted"
    rows = [json.loads(line) for line in sandbox.ledger.read_text().splitlines()]
    images = {row["image"] for row in rows if row["tenant"] == TENANTS[1]}
    assert len(images) == 1
