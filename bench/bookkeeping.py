"""What the states cost when their work costs nothing: commits to a real journal, and triggers."""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio

sys.path.insert(0, str(Path(__file__).parents[1]))

from deployer.events import Event, RunFinished, RunOpened
from tests.fakes.deployers import deployer, request  # a bench is no package
from tests.fakes.neighbours import Neighbours

RUNS: Final = 20


async def milliseconds() -> float:
    """The median of a run's way from its opening to Done, among neighbours that answer at once."""
    with tempfile.TemporaryDirectory(prefix="deployer-bench-") as folder:
        return statistics.median([await _once(Path(folder)) for _ in range(RUNS)])


async def _once(folder: Path) -> float:
    times: dict[type, float] = {}

    def told(event: Event) -> None:
        times[type(event.body)] = time.perf_counter()

    async with deployer(folder, Neighbours()) as here:
        await here.deploy(request(folder), on_event=told)
    return (times[RunFinished] - times[RunOpened]) * 1000


if __name__ == "__main__":
    sys.stdout.write(f"{anyio.run(milliseconds):.1f} ms a run\n")
