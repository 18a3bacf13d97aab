"""`deployer` and `python -m deployer`: the signals first, then everything else."""

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from deployer.cli.interrupts import exit_at_once, ignore


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Before the imports: they take up to half a second, in which Ctrl-C would print a traceback.
    exit_at_once()
    # 80,000 objects come with them, and no garbage: to look for it all the time takes 20 ms (measured).
    gc.set_threshold(100_000)
    from deployer.cli.main import run  # noqa: PLC0415

    code = run(sys.argv[1:])
    ignore()
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once: taking down what was imported costs 60 to 150 ms (measured), for nothing."""
    atexit._run_exitfuncs()  # noqa: SLF001  # it has no public name; whoever registered is heard
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads any more
            if stream is not None:
                stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
