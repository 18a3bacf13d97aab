"""The journal for those who only read: no event loop, nothing heavy."""

from pathlib import Path

from deployer.adapters.journal import file as journal_file
from deployer.adapters.journal.reader import JournalReader
from deployer.run import RunRecord


def runs(
    state_dir: Path, api_url: str | None, tenant: str | None, limit: int
) -> tuple[RunRecord, ...]:
    """The newest runs first; of every API or tenant where None is given.

    Raises JournalError for a journal that cannot be read.
    """
    connection = journal_file.opened(state_dir, create=False)
    if connection is None:
        return ()
    try:
        return JournalReader(state_dir, api_url, connection).records(tenant, limit)
    finally:
        connection.close()


def show(state_dir: Path, run_id: str) -> RunRecord | None:
    """One run with its events; None if the journal has no such run."""
    connection = journal_file.opened(state_dir, create=False)
    if connection is None:
        return None
    try:
        reader = JournalReader(state_dir, None, connection)
        run = reader.run(run_id)
        return reader.record(run, with_events=True) if run else None
    finally:
        connection.close()
