"""What the server's word for a deploy means for us: ready, failed, or wait."""

from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    """Three outcomes; a word that nobody listed is `PENDING`, never a guess."""

    READY = "ready"
    FAILED = "failed"
    PENDING = "pending"


# The server's vocabulary is open. These are the words seen in its documents and its client.
_READY: Final = frozenset({"ready", "running", "started", "deployed", "active"})
_FAILED: Final = frozenset({"failed", "error", "suspended", "deleted", "stopped"})


def judge(deploy_status: str) -> Verdict:
    """Judge the `status` of `GET …/status`; letter case and blanks around it do not count."""
    word = deploy_status.strip().lower()
    if word in _READY:
        return Verdict.READY
    return Verdict.FAILED if word in _FAILED else Verdict.PENDING
