"""Who deployed what: one JSON line an event, kept in memory."""

import json
from collections import defaultdict

from deployer import Event


class Audit:
    """The lines of each tenant."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = defaultdict(list)

    def write(self, event: Event) -> str:
        """Keep an event, and return the line that says it."""
        line = json.dumps(
            {
                "tenant": event.tenant,
                "run": event.run,
                "seq": event.seq,
                "state": event.state,
                "event": type(event.body).__name__,
            }
        )
        self._lines[event.tenant].append(line)
        return line

    def lines(self, tenant: str) -> tuple[str, ...]:
        """All of a tenant's lines."""
        return tuple(self._lines[tenant])
