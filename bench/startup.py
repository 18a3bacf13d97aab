"""How long the light commands take: the best of ten process starts each, in milliseconds."""

import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL, run  # noqa: TID251  # a bench, and nothing else runs here
from typing import Final

STARTS: Final = 10
LIMIT_MS: Final = 150.0
COMMANDS: Final = (
    ("--version",),
    ("--help",),
    ("deploy", "--help"),
    ("explain", "P01"),
    ("history",),
)


def milliseconds(*argv: str) -> float:
    """One process, from its start to its end."""
    began = time.perf_counter()
    run(argv, check=True, stdout=DEVNULL)
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """Print a line a command; 1 if one is over the limit."""
    program = Path(sysconfig.get_path("scripts"), "deployer")
    slow = False
    with tempfile.TemporaryDirectory() as state:
        bare = min(milliseconds(sys.executable, "-c", "pass") for _ in range(STARTS))
        sys.stdout.write(f"{bare:6.0f}  python -c pass\n")
        for command in COMMANDS:
            argv = (str(program), "--state-dir", state, *command)
            best = min(milliseconds(*argv) for _ in range(STARTS))
            slow = slow or best > LIMIT_MS
            sys.stdout.write(f"{best:6.0f}  deployer {' '.join(command)}\n")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
