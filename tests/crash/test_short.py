"""The short version of the random kills; `python -m tests.crash` is the long one."""

import os
import random
from pathlib import Path

import pytest

from tests.crash.bench import Bench
from tests.crash.kills import Killer, Totals, kill_until
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
KILLS = 40


async def test_a_deploy_that_is_killed_anywhere_is_done_exactly_once(tmp_path: Path) -> None:
    seed = os.environ.get("CRASH_SEED") or f"{random.SystemRandom().getrandbits(32):08x}"
    async with stand_in_site(tmp_path / "site", work_seconds=0.05) as site:
        bench = Bench(tmp_path / "bench", site)
        await bench.furnish()
        killer = Killer(bench, random.Random(seed), Totals(seed))

        await kill_until(KILLS, killer, lambda _totals: None)

    assert killer.totals.clean, (killer.totals.line, killer.totals.violations)
    assert killer.totals.done == killer.totals.cases > 0
