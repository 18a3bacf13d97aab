"""What engines really said, sent through the adapter. A case is a file: its stream and its id."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.docker.engine import Docker
from deployer.failures import Failure, Kind
from deployer.model import Login, Secret
from deployer.names import ImageRef
from deployer.ports import ImageOrder
from tests.servers.engine import StandIn, image, serving

pytestmark = pytest.mark.anyio

LOCAL = "deployer-local:1"
LOGIN = Login(registry="registry.test", username="x", password=Secret("token-0123456789"))
TARGET = ImageRef("registry.test", "app", "t1")


def recordings(folder: str) -> list[Path]:
    return sorted(Path(__file__).with_name(folder).glob("*.jsonl"))


def stand_in(path: Path) -> tuple[StandIn, str]:
    """The engine of a recording, whose first line says how it answers and what that means."""
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    about = json.loads(first)
    built = [json.loads(line).get("aux") for line in lines]
    ids = [aux["ID"] for aux in built if isinstance(aux, dict) and "ID" in aux]
    found = {LOCAL: image(ids[-1])} if ids else {LOCAL: image()}
    engine = StandIn(
        lines=lines, status=about.get("status", 200), end=about.get("end", "whole"), images=found
    )
    return engine, about["expect"]


def understood(outcome: object) -> str:
    return outcome.kind.id if isinstance(outcome, Failure) else str(outcome)


@pytest.mark.parametrize("path", recordings("build"), ids=lambda path: path.stem)
async def test_a_recorded_build_is_understood(
    path: Path, tmp_path: Path, recorded: Callable[[str], None]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\n")
    order = ImageOrder(project_root=tmp_path, dockerfile=Path("Dockerfile"), local_tag=LOCAL)
    engine, expected = stand_in(path)

    async with serving(engine):
        docker = Docker(context=BuildContext(), endpoint=engine.endpoint)
        outcome = await docker.build(order, lambda _event: None)

    assert understood(getattr(outcome, "image_id", outcome)) == expected, outcome
    recorded(expected)


@pytest.mark.parametrize("path", recordings("push"), ids=lambda path: path.stem)
async def test_a_recorded_push_is_understood(path: Path, recorded: Callable[[str], None]) -> None:
    engine, expected = stand_in(path)

    async with serving(engine):
        docker = Docker(context=BuildContext(), endpoint=engine.endpoint)
        outcome = await docker.push(LOCAL, TARGET, LOGIN, lambda _event: None)

    assert understood(outcome) == expected, outcome
    recorded(expected)


def test_there_are_recordings_of_each_kind_that_an_engine_can_tell() -> None:
    recorded = {stand_in(path)[1] for folder in ("build", "push") for path in recordings(folder)}
    told = {kind.id for kind in Kind if kind.id[0] in "IP"}

    # Found by looking, not by reading: tests/unit/test_docker.py and test_build_context.py.
    looked = {
        "I01",
        "I02",
        "I02b",
        "I02c",
        "I06",
        "I14",
        "I17",
        "I19",
        "I21",
        "I23",
        "I24",
        "P15",
        "P17",
        "P18",
    }
    assert told - looked <= recorded
