"""What the documentation takes from the code agrees with the code."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
# The seven rows as the deploy document words them.
SEVEN = {
    "B01": "Fix code, re-run",
    "B02": "Ensure local tenant exists",
    "I03": "Run `just build --release`",
    "I04": "Run `npm run build`",
    "P01": "Check credentials, re-login",
    "D04": "Ensure push completed",
    "D08": "Check Fly.io status",
}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts/generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_parts_are_up_to_date() -> None:
    for path, text in generator().generated().items():
        assert path.read_text() == text, f"run `make docs`: {path.name} has drifted"


def test_the_document_s_seven_resolutions_stand_word_for_word() -> None:
    table = generator().document_table()
    for failure_id, resolution in SEVEN.items():
        assert f"| {failure_id} | {resolution} |" in table
