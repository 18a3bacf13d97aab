"""What cargos really wrote, and what we make of it. A case is a file: its streams and its kind."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.adapters.cargo.failures import failure
from deployer.adapters.cargo.transcript import Transcript
from deployer.failures import Kind

RECORDINGS = sorted(Path(__file__).with_name("cargo").glob("*.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recorded_cargo_is_understood(path: Path, recorded: Callable[[str], None]) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    transcript = Transcript()
    for line in case["stdout"]:
        list(transcript.hear_stdout(line.encode()))
    for line in re.split(r"[\r\n]+", "".join(case["stderr"])):
        list(transcript.hear_stderr(line.encode()))

    found = failure(
        transcript.evidence(
            case["status"], least_free=case["least_free"], oom_kills=case["oom_kills"]
        )
    )

    assert found.kind is Kind.by_id(case["kind"]), found
    assert found.cause == case["cause"]
    recorded(case["kind"])


def test_there_are_recordings_of_each_kind_that_cargo_can_tell() -> None:
    recorded = {json.loads(path.read_text(encoding="utf-8"))["kind"] for path in RECORDINGS}

    # B12, B14 and B16 are found by looking, not by reading.
    assert recorded >= {
        *("B00", "B01", "B02", "B02b", "B03", "B04", "B05"),
        *("B06", "B07", "B08", "B09", "B10", "B11", "B13"),
    }
