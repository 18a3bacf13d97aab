"""Idempotency keys: reserved before the work, answered from memory after it."""

from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256
from typing import Any


class Reserved(Enum):
    """What became of an attempt to reserve a key."""

    NEW = auto()  # it is yours: work, then `store` or `release`
    IN_PROGRESS = auto()  # an earlier request with it is being worked on
    OTHER_BODY = auto()  # it was used for something else


@dataclass(slots=True)
class _Use:
    body: bytes  # its sha256
    answer: dict[str, Any] | None = None  # None: being worked on


class Keys:
    """The keys that were seen, per tenant."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], _Use] = {}

    def reserve(self, tenant: str, key: str, body: bytes) -> Reserved | dict[str, Any]:
        """Take the key, or learn why not; a stored answer is to be sent again.

        There is no await between the look and the reservation: two racing requests cannot
        both get it.
        """
        digest = sha256(body).digest()
        use = self._uses.get((tenant, key))
        if use is None:
            self._uses[tenant, key] = _Use(digest)
            return Reserved.NEW
        if use.body != digest:
            return Reserved.OTHER_BODY
        return Reserved.IN_PROGRESS if use.answer is None else use.answer

    def store(self, tenant: str, key: str, answer: dict[str, Any]) -> None:
        """Keep the answer of work that was done."""
        self._uses[tenant, key].answer = answer

    def release(self, tenant: str, key: str) -> None:
        """Forget the key: nothing was done, the same request may try again."""
        self._uses.pop((tenant, key), None)
