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
MEMORY: Final = Path("/dev/shm")  # noqa: S108  # where a disk's waits are none of ours


async def milliseconds(place: Path | None = None) -> float:
    """The median of a run's way from its opening to Done, among neighbours that answer at once.

    The journal lies below `place`; None: on the disk.
    """
    with tempfile.TemporaryDirectory(prefix="deployer-bench-", dir=place) as folder:
        return statistics.median([await _once(Path(folder)) for _ in range(RUNS)])


async def _once(folder: Path) -> float:
    times: dict[type, float] = {}

    def told(event: Event) -> None:
        times[type(event.body)] = time.perf_counter()

    async with deployer(folder, Neighbours()) as here:
        await here.deploy(request(folder), on_event=told)
    return (times[RunFinished] - times[RunOpened]) * 1000


async def main() -> None:
    """Print what it takes with a disk under the journal, and without."""
    sys.stdout.write(f"{await milliseconds():.1f} ms a run\n")
    if MEMORY.is_dir():
        sys.stdout.write(f"{await milliseconds(MEMORY):.1f} ms with the journal in memory\n")


if __name__ == "__main__":
    anyio.run(main)
