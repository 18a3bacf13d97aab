import aiohttp
import pytest

from deployer.sandbox.shelf import Shelf
from tests.servers.registry import memory_registry, sha

pytestmark = pytest.mark.anyio


async def test_a_large_blob_is_kept_without_a_warning() -> None:
    data = bytes(3_000_000)
    async with memory_registry() as registry, aiohttp.ClientSession() as session:
        digest = await Shelf(registry.address, session).keep("library/base", data)

    assert digest == sha(data)
    assert registry.blobs[digest] == data
