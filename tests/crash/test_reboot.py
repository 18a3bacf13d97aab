"""The machine went down: nothing runs any more, and another boot gives out the same process ids."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack

import anyio
import pytest

from deployer.states.flow import State
from tests.crash.bench import Bench, Child, processes_in
from tests.crash.check import check, executed
from tests.crash.machine import namesake, rebooted
from tests.crash.places import PLACES, each_state, hanging

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def power_cut(bench: Bench, child: Child) -> list[int]:
    """End all at once; the ids of what ran: the tool, its guard, cargo and the compiler."""
    pids = [int(line.partition(" ")[0]) for line in processes_in(bench.folder)]
    bench.end_all()
    await child.ended()
    await bench.site.parts["engine"].die()
    # Their numbers are free, but for whom a parent without manners has not buried.
    pids = [pid for pid in pids if not await anyio.Path(f"/proc/{pid}").exists()]
    shutil.rmtree(bench.folder / "tmp")
    (bench.folder / "tmp").mkdir()
    bench.site.pauses.clear()
    return pids


@each_state(slow=(State.IMAGING, State.AUTHENTICATING, State.PUSHING))
async def test_a_run_survives_a_reboot_and_touches_no_process_of_the_new_boot(
    bench: Bench, state: State, seen: Callable[[str], None]
) -> None:
    child = await hanging(bench, PLACES[state])
    pids = await power_cut(bench, child)
    assert child.process.pid in pids
    await bench.site.parts["engine"].rise()
    bench.prefix = rebooted(bench.folder)

    with ExitStack() as innocents:
        for pid in pids:
            innocents.enter_context(namesake(pid))
        before = bench.records()[0]
        ended = await bench.run("resume")

    assert before.run.state is state
    assert before.outcome is PLACES[state].outcome
    assert check(bench, ended) == []
    assert len(executed(bench)) == 1
    assert await bench.leftovers() == []
    seen("T01")
