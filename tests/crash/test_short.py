"""The short versions of the random kills and of the sweep over the system calls."""

import os
import random
from pathlib import Path

import pytest

from deployer.run import Builder
from tests.crash.bench import Bench
from tests.crash.kills import Killer, Totals, kill_until
from tests.crash.site import stand_in_site
from tests.crash.sweep import have_strace, swept

pytestmark = [pytest.mark.anyio, pytest.mark.real]
KILLS = 12  # with each builder
EVERY = 80  # of the system calls


@pytest.mark.parametrize("builder", Builder)
async def test_a_deploy_that_is_killed_anywhere_is_done_exactly_once(
    tmp_path: Path, builder: Builder
) -> None:
    seed = os.environ.get("CRASH_SEED") or f"{random.SystemRandom().getrandbits(32):08x}"
    async with stand_in_site(tmp_path / "site", work_seconds=0.05) as site:
        bench = Bench(tmp_path / "bench", site, builder=builder)
        await bench.furnish()
        killer = Killer(bench, random.Random(seed), Totals(seed))

        await kill_until(KILLS, killer, lambda _totals: None)

    assert killer.totals.clean, (killer.totals.line, killer.totals.violations)
    assert killer.totals.done == killer.totals.cases > 0


async def test_a_run_that_is_disturbed_at_some_system_calls_is_done_exactly_once(
    tmp_path: Path,
) -> None:
    assert await have_strace(), "install strace"

    sweep = await swept(tmp_path, every=EVERY)

    assert sweep.violations == []
    assert (sweep.duplicates, sweep.missing) == (0, 0)
    assert sweep.tried.total() > 5
