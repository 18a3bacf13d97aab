"""The deploys that were executed, one JSON line each: the judge of exactly-once."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio


class Ledger:
    """An append-only file; `rows` are those of this sandbox's life."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        # Deploy ids go on where the last sandbox in this folder stopped.
        self._ids = _last_id(path)

    def next_id(self) -> str:
        """A deploy id that was never used in this folder."""
        self._ids += 1
        return f"dep-{self._ids:04}"

    async def append(self, row: dict[str, Any]) -> None:
        """Record an executed deploy. It is on the disk when this returns."""
        dated = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **row}
        self.rows.append(dated)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._write, json.dumps(dated))

    def _write(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def _last_id(path: Path) -> int:
    ids = (
        [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []
    )
    return max((int(each.removeprefix("dep-")) for each in ids), default=0)
