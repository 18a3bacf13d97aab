"""`deployer` and `python -m deployer`: the signals first, then everything else."""

import sys
from typing import NoReturn

from deployer.cli.interrupts import exit_at_once, ignore


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Before the imports: they take up to half a second, in which Ctrl-C would print a traceback.
    exit_at_once()
    from deployer.cli.main import run  # noqa: PLC0415

    code = run(sys.argv[1:])
    ignore()
    sys.exit(code)


if __name__ == "__main__":
    main()
