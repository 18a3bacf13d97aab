"""Each border of the product under each fault of its network: told truly, and deployed exactly once.

`make test` takes some rows of each border; all of them belong to `make crash`.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest

from deployer.adapters.direct.ahead import Ahead
from deployer.ports import Idle
from tests.crash.border_cases import table
from tests.crash.borders import Case, tried
from tests.servers.skipping import BACKEND, wait_for_threads

pytestmark = [pytest.mark.anyio, pytest.mark.real]
EVERY: Final = 30  # row of a spot is in the short version


def rows() -> Iterator[Any]:
    """The table, with a mark at what is long."""
    for number, (_, group) in enumerate(groupby(table(), lambda case: case.name.split(": ")[0])):
        cases = list(group)
        for place, case in enumerate(cases, 7 * number):
            marks = () if place % min(EVERY, len(cases)) == 0 else (pytest.mark.long,)
            yield pytest.param(case, id=case.name, marks=marks)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return BACKEND


@pytest.mark.parametrize("case", list(rows()))
async def test_a_fault_is_told_truly_and_the_deploy_is_done_once(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_threads(monkeypatch)
    if not case.while_building:
        # The clock skips: layers could be there already when a fault of the push begins.
        monkeypatch.setattr(Ahead, "work", Idle.work)

    assert await tried(case, tmp_path) == []
