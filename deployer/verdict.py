"""What the server's words for a deploy mean."""

from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """Where a deploy stands by the server's own word."""

    READY = "ready"
    FAILED = "failed"
    PENDING = "pending"


# The words of the platform's client, its plans and its tenant states. `deployed` and `active` are
# said of the record, not of the machine; the public URL has the last word in any case.
_READY: Final = frozenset({"ready", "running", "started", "deployed", "active"})
_FAILED: Final = frozenset({"failed", "error", "suspended", "deleted", "stopped"})


def judge(deploy_status: str) -> Verdict:
    """The verdict of a status word. A word nobody foresaw keeps the wait going: never success."""
    word = deploy_status.strip().lower()
    if word in _READY:
        return Verdict.READY
    return Verdict.FAILED if word in _FAILED else Verdict.PENDING
