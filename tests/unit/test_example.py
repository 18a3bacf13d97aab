"""The example web service among in-memory neighbours; as a process it is in tests/real."""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from deployer.sandbox.loopback import served
from tests.fakes.deployers import deployer
from tests.fakes.neighbours import Neighbours

pytestmark = pytest.mark.anyio
EXAMPLE = Path(__file__).parents[2] / "examples/web_service"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class of the service, whose own package `adapters` is forgotten afterwards."""
    monkeypatch.syspath_prepend(EXAMPLE)
    yield runpy.run_path(str(EXAMPLE / "main.py"))["Service"]
    for name in ("adapters.audit", "adapters"):
        del sys.modules[name]


async def test_a_second_deploy_of_a_tenant_leaves_the_first_to_be_cancelled(
    service: Any, tmp_path: Path
) -> None:
    of = Neighbours(hang_in="compile")
    async with (
        deployer(tmp_path / "state", of) as here,
        served(service(here, tmp_path).app(), 0) as door,
        aiohttp.ClientSession(f"http://127.0.0.1:{door.port}") as client,
        client.post("/deploys/ten_1") as first,
    ):
        with anyio.fail_after(10):
            await of.hanging.wait()
            async with client.post("/deploys/ten_1") as second:
                refused = json.loads(await second.text())
            async with client.delete("/deploys/ten_1") as cancelled:
                assert cancelled.status == 202  # or the first would never end
            told = [json.loads(line) async for line in first.content]
            async with client.delete("/deploys/ten_1") as again:
                pass

    assert "busy" in refused
    assert told[-1]["state"] == "cancelled"
    assert again.status == 404
