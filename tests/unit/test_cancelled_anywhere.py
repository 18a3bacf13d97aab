"""The embedded interface, cancelled at random instants until it is done: one deploy, one history."""

import random
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from deployer import history
from deployer.result import DeployResult
from deployer.states.flow import State
from tests.fakes.deployers import deployer, request
from tests.fakes.neighbours import Neighbours

pytestmark = pytest.mark.anyio
RUNS = 12
TURNS = 60  # of the event loop; a whole run takes about so many


class Interrupter(Neighbours):
    """Cancels a scope after so many calls and turns of the loop."""

    async def _called(self, name: str):  # type: ignore[no-untyped-def]
        # Several turns a call, so that a cancellation can come in the middle of one.
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        return await super()._called(name)


async def one_attempt(state_dir: Path, of: Neighbours, turns: int) -> DeployResult | None:
    """One process's attempt, cancelled after so many turns of the loop; None then."""
    results: list[DeployResult] = []

    async def attempt() -> None:
        async with deployer(state_dir, of) as here:
            stored = await here.history("ten_1", 1)
            open_run = bool(stored) and stored[0].run.state is not State.DONE
            call = here.resume("ten_1") if open_run else here.deploy(request(state_dir))
            results.append(await call)

    async with anyio.create_task_group() as group:

        async def cancel_later() -> None:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

        group.start_soon(cancel_later)
        await attempt()
        group.cancel_scope.cancel()
    return results[0] if results else None


@pytest.mark.parametrize("honours_keys", [True, False])
async def test_a_deploy_that_is_cancelled_anywhere_is_done_exactly_once(
    tmp_path: Path, honours_keys: bool
) -> None:
    chance = random.Random(11)
    cancelled = 0
    for number in range(RUNS):
        of = Interrupter(honours_keys=honours_keys)
        folder = tmp_path / str(number)
        result: DeployResult | None = None
        for attempt in range(10):
            turns = 10**5 if attempt == 9 else chance.randrange(TURNS * 3)
            result = await one_attempt(folder, of, turns)
            if result is not None:
                break
            cancelled += 1

        assert result is not None
        assert result.state is State.DONE, result
        assert len(of.deployed) == 1
        assert result.run_id is not None
        shown = history.show(folder, result.run_id)
        assert shown is not None
        assert all(two.seq == one.seq + 1 for one, two in pairwise(shown.events))
        assert of.calls.count("compile") <= 1 + cancelled
    assert cancelled > RUNS // 2
