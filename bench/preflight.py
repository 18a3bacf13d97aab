"""How long a healthy `deploy --dry-run` takes against the sandbox: five process starts, in seconds."""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio

from deployer.sandbox.options import Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.up import sandbox
from deployer.sandbox.workspace import write_workspace

RUNS: Final = 5


async def main() -> None:
    """Print the fastest and the median."""
    with tempfile.TemporaryDirectory(prefix="deployer-bench-") as name:
        folder = Path(name)
        options = Options(
            cache=cache_root(os.environ),
            folder=folder / "sandbox",
            environ=dict(os.environ),
            base_port=0,
            faults={},
        )
        async with sandbox(options, lambda _: None) as place:
            await write_workspace(folder / "project", place, os.environ)
            env = {**os.environ, **place.environment(), "XDG_STATE_HOME": name}
            seconds = [await _look(folder / "project", env) for _ in range(RUNS)]
    fastest, median = min(seconds), statistics.median(seconds)
    sys.stdout.write(f"fastest {fastest:.2f} s, median {median:.2f} s\n")


async def _look(project: Path, env: dict[str, str]) -> float:
    began = time.perf_counter()
    await anyio.run_process([sys.executable, "-m", "deployer", "deploy", "--dry-run"], cwd=project, env=env)  # fmt: skip
    return time.perf_counter() - began


if __name__ == "__main__":
    anyio.run(main)
