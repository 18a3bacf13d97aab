"""`deployer` and `python -m deployer`: the signals first, then everything else."""

import gc
import sys
from typing import NoReturn

from deployer.cli.interrupts import exit_at_once
from deployer.cli.leaving import leave


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Before the imports: they take up to half a second, in which Ctrl-C would print a traceback.
    exit_at_once()
    # 80,000 objects come with them, and no garbage: to look for it all the time takes 20 ms (measured).
    gc.set_threshold(100_000)
    from deployer.cli.main import run  # noqa: PLC0415

    leave(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
