"""A POST whose outcome nobody can tell: exit code 20, until a person settles it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployer import history
from deployer.failures import ExitCode
from deployer.run import Outcome
from deployer.states.flow import State
from tests.crash.bench import Bench
from tests.crash.check import check, executed
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with stand_in_site(tmp_path / "site") as site:
        # Neither keys nor images: nothing can be found out from here.
        for fault in ("ignore-keys", "bare-status"):
            site.faults.switch_on(fault)
        made = Bench(tmp_path / "bench", site)
        await made.furnish()
        yield made


@pytest.mark.parametrize(
    ("fault", "settlement", "before"),
    [("deploy-lost-answer", "deployed", 1), ("deploy-html", "not-deployed", 0)],
)
async def test_a_person_settles_it_and_the_run_goes_on(
    bench: Bench, fault: str, settlement: str, before: int
) -> None:
    bench.site.faults.switch_on(fault, 1)

    lost = await bench.run("deploy")
    blocked = await bench.run("deploy")
    in_vain = await bench.run("resume")

    assert [lost.code, blocked.code, in_vain.code] == [ExitCode.UNKNOWN] * 3
    record = bench.records()[0]
    assert record.outcome is Outcome.UNKNOWN
    assert len(bench.records()) == 1
    assert len(executed(bench)) == before

    settled = await bench.run("settle", record.run.id, "--as", settlement)

    assert settled.code == ExitCode.DONE, settled.err
    assert f"next: deployer resume {record.run.id}" in settled.out
    assert bench.records()[0].outcome is Outcome.FAILED
    shown = history.show(bench.state_dir, record.run.id)
    assert shown is not None
    assert (shown.events[-1].kind, shown.events[-1].data["as"]) == ("settled", settlement)

    resumed = await bench.run("resume", record.run.id)

    assert resumed.code == ExitCode.DONE, resumed.err
    assert bench.records()[0].run.state is State.DONE
    assert len(executed(bench)) == 1
    assert check(bench) == []


async def test_there_is_nothing_to_settle_beside_a_known_outcome(bench: Bench) -> None:
    done = await bench.run("deploy")
    run = bench.records()[0].run

    refused = await bench.run("settle", run.id, "--as", "not-deployed")
    unknown = await bench.run("settle", "nosuchrun", "--as", "deployed")

    assert done.code == ExitCode.DONE
    assert refused.code == ExitCode.REFUSED
    assert "nothing to settle" in refused.err
    assert unknown.code == ExitCode.USAGE
    assert bench.records()[0].run == run
