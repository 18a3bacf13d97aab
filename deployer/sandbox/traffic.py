"""What went through the sandbox: requests in order, and bytes uploaded to the registry."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

_KEPT: Final = 5_000  # requests; older ones are counted only


@dataclass(slots=True)
class Traffic:
    """Counters and the latest requests."""

    uploaded: int = 0  # bytes of request bodies at the registry
    seen: int = 0
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def note(self, where: str, method: str, path: str, status: int, **more: Any) -> None:
        """Remember one request. Nothing secret may be in `more`."""
        self.seen += 1
        self.requests.append(
            {"where": where, "method": method, "path": path, "status": status, **more}
        )

    def reset(self) -> None:
        """Start counting anew."""
        self.uploaded = self.seen = 0
        self.requests.clear()
