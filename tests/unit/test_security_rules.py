"""Each rule of docs/security.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (S\d\d) \| .+ \| (.+) \|$", re.MULTILINE)


def test_each_security_rule_has_a_test() -> None:
    rows = dict(ROW.findall((ROOT / "docs/security.md").read_text()))
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"def (test_\w+)", sources))

    assert list(rows) == [f"S{number:02}" for number in range(1, 28)]
    named = {name for tests_of in rows.values() for name in re.findall(r"`(\w+)`", tests_of)}
    assert named - tests == set()
