"""One tenant's project and the other side of it, for who needs nothing special."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.crash.bench import Bench
from tests.crash.site import Site, stand_in_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with stand_in_site(tmp_path / "site") as running:
        yield running


@pytest.fixture
async def bench(site: Site, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path / "bench", site)
    await made.furnish()
    yield made
    made.end_all()
