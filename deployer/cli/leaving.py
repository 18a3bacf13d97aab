"""The end of this process, from wherever its exit code is known."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

from deployer.cli.interrupts import ignore


def leave(code: int) -> NoReturn:
    """End at once with `code`: taking down what was imported costs 60 to 150 ms (measured)."""
    ignore()
    atexit._run_exitfuncs()  # noqa: SLF001  # it has no public name; whoever registered is heard
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads any more
            if stream is not None:
                stream.flush()
    os._exit(code)
