"""Reads cargo's stderr line by line and keeps what may explain a failure later. No I/O."""

from enum import Enum, auto
from typing import Final

from deployer.adapters.cargo.failures import PROSE_RULES, SCRIPT_RULES, Rule, signs


class _Context(Enum):
    """What the next line belongs to."""

    NOTHING = auto()
    COMPLAINT = auto()  # an `error: …:` that goes on
    CAUSE = auto()
    SCRIPT = auto()  # what a build script wrote to its stderr, indented
    PANIC = auto()  # the same, and a panic gives its reason next


_HEADINGS: Final = {"Caused by:": _Context.CAUSE, "--- stderr": _Context.SCRIPT}


class Prose:
    """The evidence in one cargo's stderr."""

    def __init__(self) -> None:
        """Begin empty."""
        self.complaint: str | None = None  # the first `error: …`
        self.root_cause: str | None = None  # what stands below the last `Caused by:`
        self.signs: dict[Rule, str] = {}  # the first line that fits each rule
        self._context = _Context.NOTHING

    def read(self, line: str) -> None:
        """Take a line that is no progress bar."""
        context, self._context = self._context, _after(self._context, line)
        self._keep(context, line)
        in_script = context in (_Context.SCRIPT, _Context.PANIC)
        rules = (*SCRIPT_RULES, *PROSE_RULES) if in_script else PROSE_RULES
        for rule in signs(line, rules):
            self.signs.setdefault(rule, line)

    def _keep(self, context: _Context, line: str) -> None:
        words = line.strip()
        if context is _Context.CAUSE:
            self.root_cause = words
        elif context is _Context.PANIC:
            self.root_cause = f"its build script says: {words}"
        elif self.complaint is None:
            self.complaint = words if words.startswith("error") else None
        elif context is _Context.COMPLAINT:
            self.complaint = f"{self.complaint} {words}"
        elif words.startswith("--> ") and self.root_cause is None:
            self.complaint = f"{self.complaint} ({words.removeprefix('--> ')})"


def _after(context: _Context, line: str) -> _Context:
    words = line.strip()
    if words in _HEADINGS:
        return _HEADINGS[words]
    if context in (_Context.SCRIPT, _Context.PANIC) and line.startswith(" "):
        return _Context.PANIC if " panicked at " in words else _Context.SCRIPT
    goes_on = line.startswith("error") and line.endswith(":")
    return _Context.COMPLAINT if goes_on else _Context.NOTHING
