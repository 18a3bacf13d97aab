"""Where a run can be caught: in each of its five states, at work."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import anyio
import pytest

from deployer.run import Outcome
from deployer.states.flow import State
from tests.crash.bench import Bench, Child, until

HANG: Final = 20.0


class Place(NamedTuple):
    """Where a run hangs: the line that says so, what holds it, and what is true then."""

    line: str
    pause: str
    outcome: Outcome = Outcome.INTERRUPTED


PLACES: Final = {
    State.BUILDING: Place("building       begins", "cargo"),
    State.IMAGING: Place("imaging        begins", "build"),
    State.AUTHENTICATING: Place("authenticating begins", "registry-token"),
    State.PUSHING: Place("pushing        begins", "push"),
    State.DEPLOYING: Place("asking the Management API", "deploy", Outcome.UNKNOWN),
}


async def hanging(bench: Bench, place: Place, seconds: float = HANG) -> Child:
    """A deploy that hangs there for so long."""
    environment = {"CARGO_CRASH_SECONDS": str(seconds)} if place.pause == "cargo" else {}
    child = await bench.start("deploy", environment=environment)
    # The preflight asks for a login, too: that one is not what hangs.
    assert await until(lambda: "building       begins" in child.err.read_text(), 20)
    bench.site.pauses[place.pause] = seconds
    assert await until(lambda: place.line in child.err.read_text(), 20), child.err.read_text()
    # The line comes a little before the work.
    await anyio.sleep(0.1)
    return child


def each_state(*, slow: Sequence[State]) -> pytest.MarkDecorator:
    """The test in each state; in those that are `slow` only where there is time."""
    marks = {state: [pytest.mark.long] for state in slow}
    return pytest.mark.parametrize(
        "state", [pytest.param(state, marks=marks.get(state, [])) for state in PLACES]
    )
