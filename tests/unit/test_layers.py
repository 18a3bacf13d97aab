"""Who may import whom: the arrows of the design, kept."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The values, which anyone may use.
VALUES = {"model", "names", "run", "failures", "events", "ports", "errors", "verdict"}
# Each part, and the parts of ours that it may import.
ALLOWED = {
    "states": VALUES | {"states"},
    "adapters": VALUES | {"adapters", "states.flow"},
    "names": set[str](),
    "model": {"names"},
    "run": {"failures", "model", "names", "states.flow"},
    "failures": {"states.flow"},
    "events": {"model", "names", "run", "failures", "states.flow"},
    "errors": {"failures"},
    "verdict": set[str](),
    "ports": {"events", "model", "names", "run", "failures", "states.flow"},
    "sandbox": {"sandbox"},
    "driver": VALUES | {"states", "planning"},
    "planning": VALUES | {"states.flow"},
    "preflight": VALUES | {"states", "doctor", "builders"},
    "doctor": VALUES | {"states", "doctor", "settings", "builders"},
    "behaviours": {"failures", "states.flow"},
    "builders": VALUES,
}
# Outside libraries that have one home.
HOMES = {
    "aiodocker": {
        f"adapters/docker/{name}.py"
        for name in ("again", "build", "client", "engine", "loading", "push")
    },
    "transitions": {"states/machine.py"},
    "httpx": {"adapters/http/client.py", "adapters/http/exchange.py"},
    "isal": {"adapters/direct/codec.py"},
    "zlib_ng": {"adapters/direct/codec.py"},
    "e2b_dockerfile_utils": {
        "adapters/context/dockerfile.py",
        "adapters/direct/instructions.py",
    },
    "sqlite3": {
        "adapters/journal/journal.py",
        "adapters/journal/file.py",
        "adapters/journal/reader.py",
    },
    "tempfile": {
        "adapters/facts.py",
        "adapters/scratch.py",
        "deployer/sandbox/demo.py",
        "deployer/sandbox/places.py",
    },
    "tenacity": {"deployer/driver.py"},
}


def sources() -> Iterator[Path]:
    for folder in ("deployer", "states", "adapters"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            below = path.relative_to(ROOT)
            if below.parts[:2] not in (("deployer", "states"), ("deployer", "adapters")):
                yield below


def part(path: Path) -> str:
    """The part of the project a file belongs to: `states`, `cli`, or a module's own name."""
    inside = path.parts[1:] if path.parts[0] == "deployer" else path.parts
    return inside[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    tree = ast.parse((ROOT / path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_allowed(name: str, allowed: set[str]) -> bool:
    inside = name.removeprefix("deployer.")
    return any(
        inside == each or inside.startswith(f"{each}.") or each.startswith(f"{inside}.")
        for each in allowed
    )


@pytest.mark.parametrize("path", tuple(sources()), ids=str)
def test_imports_point_downwards_only(path: Path) -> None:
    allowed = ALLOWED.get(part(path))
    if allowed is None:
        return
    ours = [name for name in imported(path) if name.startswith("deployer.")]

    assert [name for name in ours if not is_allowed(name, allowed)] == []


@pytest.mark.parametrize("path", tuple(sources()), ids=str)
def test_a_library_is_used_in_its_home_only(path: Path) -> None:
    for name in imported(path):
        homes = HOMES.get(name.partition(".")[0])
        assert homes is None or str(path) in homes


def test_wiring_alone_sees_both_sides() -> None:
    for path in sources():
        parts = {name.split(".")[1] for name in imported(path) if name.startswith("deployer.")}
        if {"adapters", "driver"} <= parts or {"adapters", "api"} <= parts:
            assert path.stem == "wiring"


def test_no_class_exists_twice_under_two_names() -> None:
    import deployer.states.flow  # noqa: F401, PLC0415

    assert "states" not in sys.modules
    assert "adapters" not in sys.modules
