import json
from pathlib import Path

import pytest

from deployer.sandbox.ledger import Ledger

pytestmark = pytest.mark.anyio


async def test_an_executed_deploy_is_on_the_disk_with_its_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deploys.jsonl")

    await ledger.append({"id": ledger.next_id(), "tenant": "t"})

    (row,) = map(json.loads, (tmp_path / "deploys.jsonl").read_text().splitlines())
    assert row["id"] == "dep-0001"
    assert row["tenant"] == "t"
    assert row["time"].endswith("+00:00")
    assert ledger.rows == [row]


async def test_ids_go_on_where_the_last_sandbox_stopped(tmp_path: Path) -> None:
    before = Ledger(tmp_path / "deploys.jsonl")
    before.next_id()  # accepted, but never executed
    await before.append({"id": before.next_id()})

    after = Ledger(tmp_path / "deploys.jsonl")

    assert after.rows == []
    assert after.next_id() == "dep-0003"
