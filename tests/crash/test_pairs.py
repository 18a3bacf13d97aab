"""Several command lines at once: one deploy a tenant at a time, and no tenant waits for another."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from deployer.failures import ExitCode
from deployer.sandbox.options import TENANTS
from tests.crash.bench import Bench, Ended, until
from tests.crash.check import check, duplicates, executed, missing
from tests.crash.site import Site, stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
PAIRS: Final = 20
WORK: Final = 0.3  # seconds that the server works on a deploy
HELD: Final = 8.0  # seconds until the answer to a POST


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with stand_in_site(tmp_path / "site", work_seconds=WORK) as running:
        yield running


@pytest.fixture
async def bench(site: Site, tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "bench", site)
    await made.furnish()
    return made


async def at_once(*commands: tuple[Bench, tuple[str, ...]]) -> list[Ended]:
    """Run them side by side; how each ended, in their order."""
    ended: dict[int, Ended] = {}

    async def run(number: int, bench: Bench, words: tuple[str, ...]) -> None:
        ended[number] = await bench.run(*words)

    async with anyio.create_task_group() as group:
        for number, (bench, words) in enumerate(commands):
            group.start_soon(run, number, bench, words)
    return [ended[number] for number in range(len(commands))]


@pytest.mark.long
async def test_of_two_deploys_of_a_tenant_one_is_refused_by_name(bench: Bench) -> None:
    refused = 0
    for pair in range(PAIRS):
        deploy = ("deploy", "--message", f"pair {pair}", "--new")

        ended = await at_once((bench, deploy), (bench, deploy))

        codes = sorted(each.code for each in ended)
        assert codes in ([ExitCode.DONE, ExitCode.BUSY], [ExitCode.DONE, ExitCode.DONE]), ended
        for each in ended:
            if each.code == ExitCode.BUSY:
                refused += 1
                assert "process " in each.err
                assert "since 20" in each.err

    # Both may be done where the second came when the first had ended.
    assert refused > PAIRS // 2
    assert check(bench) == []
    assert (duplicates(bench), missing(bench)) == (0, 0)
    assert never_two_at_a_time(bench)


def moment(row: dict[str, Any]) -> float:
    """When the server carried a deploy out."""
    return datetime.fromisoformat(row["time"]).timestamp()


def never_two_at_a_time(bench: Bench) -> bool:
    """Whether the server's work on each deploy ended before the next one began."""
    times = sorted(moment(row) for row in executed(bench))
    return all(later - earlier >= WORK for earlier, later in pairwise(times))


async def test_one_that_waits_deploys_after_the_other(bench: Bench) -> None:
    wait = ("deploy", "--new", "--on-lock", "wait")

    ended = await at_once((bench, wait), (bench, wait), (bench, wait))

    assert [each.code for each in ended] == [ExitCode.DONE] * 3
    assert any("waiting for another run of the tenant (process " in each.err for each in ended)
    assert len(executed(bench)) == 3
    assert never_two_at_a_time(bench)
    assert check(bench) == []


async def test_the_newest_replaces_those_that_wait_and_not_the_one_that_runs(bench: Bench) -> None:
    bench.site.pauses["build"] = 4.0
    running = await bench.start("deploy", "--message", "running")
    assert await until(lambda: "imaging        begins" in running.err.read_text(), 20)
    replace = ("deploy", "--new", "--on-lock", "replace")
    waiting = await bench.start(*replace, "--message", "waiting")
    assert await until(lambda: "waiting for another run" in waiting.err.read_text(), 20)
    bench.site.pauses["build"] = 0.0

    newest = await bench.run(*replace, "--message", "newest")

    gave_up = await waiting.ended()
    assert gave_up.code == ExitCode.SUPERSEDED
    assert "a newer run" in gave_up.err
    assert (await running.ended()).code == ExitCode.DONE
    assert newest.code == ExitCode.DONE
    messages = [record.run.plan.request.message for record in bench.records()]
    assert messages == ["newest", "running"]


async def test_four_tenants_do_not_wait_for_each_other(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with (
        stand_in_site(tmp_path / "one", work_seconds=WORK) as one,
        stand_in_site(tmp_path / "two", work_seconds=WORK) as two,
    ):
        benches = [
            Bench(tmp_path / f"{n}{t.id}", site, t)
            for n, site in enumerate((one, two))
            for t in TENANTS[:2]
        ]
        for bench in benches:
            await bench.furnish()
            bench.state_dir = state
            await bench.run("deploy", "--message", "warm")
            bench.site.pauses["deploy"] = HELD

        ended = await at_once(*((bench, ("deploy", "--new")) for bench in benches))

    assert [each.code for each in ended] == [ExitCode.DONE] * 4
    # The last one was carried out before the first one had its answer.
    times = sorted(moment(executed(bench)[-1]) for bench in benches)
    assert times[-1] - times[0] < HELD
    for bench in benches:
        assert len(executed(bench)) == 2
        assert check(bench) == []
    assert len({json.dumps(executed(bench)[-1]["image"]) for bench in benches}) == 4
