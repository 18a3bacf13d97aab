"""A program to be killed: its deploy hangs, and so does the clean-up. `python -m … DIRECTORY`."""

import sys
from pathlib import Path

import anyio

from deployer.cli.interrupts import exit_at_once
from deployer.failures import Failure
from tests.fakes.cli import TENANT, CommandLine
from tests.fakes.neighbours import Neighbours


class Stubborn(Neighbours):
    """Hangs in the push, and does not let itself be cancelled."""

    async def _called(self, name: str) -> Failure | None:
        if name == "push":
            sys.stderr.write("hanging\n")
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()
        return await super()._called(name)


if __name__ == "__main__":
    exit_at_once()
    cli = CommandLine(Path(sys.argv[1]), Stubborn())
    sys.exit(cli.run("deploy", "--tenant", TENANT, err=sys.stderr).code)
