"""A program to be killed: stopped, it says so, and then never gets closed. `python -m … DIRECTORY`."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio

from deployer.cli.interrupts import exit_at_once
from deployer.cli.program import Deploys
from deployer.failures import Failure
from deployer.ports import Log
from deployer.settings.values import Settings
from tests.fakes.cli import TENANT, CommandLine
from tests.fakes.neighbours import Neighbours


class Terminated(Neighbours):
    """Gets TERM in the push."""

    async def _called(self, name: str) -> Failure | None:
        if name == "push":
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.sleep_forever()
        return await super()._called(name)


class Lingering(CommandLine):
    """Opens a Deployer that hangs when it is closed."""

    async def open(
        self, settings: Settings, logger: Log | None
    ) -> AbstractAsyncContextManager[Deploys]:
        """The real one, with that end."""
        return _lingering(await super().open(settings, logger))


@asynccontextmanager
async def _lingering(opened: AbstractAsyncContextManager[Deploys]) -> AsyncIterator[Deploys]:
    async with opened as deployer:
        yield deployer
    sys.stderr.write("lingering\n")
    await anyio.sleep_forever()


if __name__ == "__main__":
    exit_at_once()
    cli = Lingering(Path(sys.argv[1]), Terminated())
    sys.exit(cli.run("deploy", "--tenant", TENANT, err=sys.stderr).code)
