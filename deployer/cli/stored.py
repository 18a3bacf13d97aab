"""The journal, read for commands: offline, and without an event loop."""

from pathlib import Path

import click

from deployer import history
from deployer.cli.program import Invocation
from deployer.names import is_utf8
from deployer.run import RunRecord
from deployer.settings.values import Refusal, state_directory


def journal_directory(cli: Invocation) -> Path:
    """Where the journal lies; a usage error where no place can be told."""
    found = state_directory(cli.choices.state_dir, cli.program.environ)
    if isinstance(found, Refusal):
        raise click.UsageError(str(found))
    return found


def find_runs(cli: Invocation, tenant: str | None, limit: int) -> tuple[RunRecord, ...]:
    """The newest runs first, of one tenant or of all."""
    return history.runs(journal_directory(cli), None, tenant, limit)


def find_run(cli: Invocation, run: str) -> RunRecord:
    """The run with this id, with its events; a usage error where there is none."""
    record = history.show(journal_directory(cli), run) if is_utf8(run) else None
    if record is None:
        raise click.UsageError(f"no run {run!r}; `deployer history` lists them")
    return record
