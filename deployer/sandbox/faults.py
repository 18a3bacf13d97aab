"""The faults that a user or a test can switch on: their names, what they do, how often."""

from collections.abc import Mapping
from typing import Final

import anyio

# What each fault does, as the user reads it. "Login" is the registry's user and password.
FAULTS: Final[Mapping[str, str]] = {
    "token-401": "GET registry-token refuses the API token",
    "token-403": "GET registry-token says that the tenant is someone else's",
    "token-404": "GET registry-token does not know the tenant",
    "token-503": "GET registry-token is unavailable (Retry-After: 1)",
    "token-html": "GET registry-token answers a web page, as a captive portal does",
    "token-empty-password": "the login has an empty password",
    "wrong-tag": "the login names a tag that POST deploy then refuses (server-tag contract)",
    "registry-wrong-password": "the login's password is refused by the registry",
    "registry-down": "nothing listens at the registry's port",
    "registry-foreign-realm": "the registry asks for the login to be sent to another host",
    "push-401": "uploads are refused as unauthorized",
    "push-expire": "the next login ends after COUNT requests (default 6)",
    "push-503": "uploads are answered with 503",
    "push-reset": "an upload's connection is reset after 64 kB",
    "manifest-500": "the registry cannot store the manifest (500)",
    "deploy-image-not-found": "POST deploy does not find the image",
    "deploy-update-failed": "POST deploy could not update the machine",
    "deploy-status-failed": "POST deploy answers 200 with status `failed`",
    "deploy-500": "POST deploy answers 500 without a reason, and has done nothing",
    "deploy-html": "POST deploy answers a proxy's 502 page, and has done nothing",
    "deploy-refused-before": "the connection of POST deploy ends before any work",
    "deploy-lost-answer": "POST deploy does its work, then the connection is reset",
    "deploy-slow": "POST deploy does its work, then answers two bytes a second",
    "deploy-truncated": "POST deploy does its work, then answers half of the JSON",
    "deploy-superseded": "right after the work, someone else's deploy takes over",
    "status-404": "the server has no status route",
    "status-pending-forever": "status stays at `deploying`",
    "bare-status": "status names neither image nor deploy id",
    "ignore-keys": "Idempotency-Key is neither honoured nor announced",
    "health-503": "the application's health routes answer 503",
}
EXPIRES_AFTER: Final = 6  # requests: within the upload of a small image


class UnknownFaultError(LookupError):
    """There is no fault by this name."""


class Faults:
    """The faults that are on, and how often each will still strike."""

    def __init__(self, on: Mapping[str, int | None]) -> None:
        self._left: dict[str, int | None] = {}
        self._changed = anyio.Event()
        for name, count in on.items():
            self.switch_on(name, count)

    def switch_on(self, name: str, count: int | None = None) -> None:
        """Let `name` strike `count` times; None: until it is switched off."""
        if name not in FAULTS:
            raise UnknownFaultError(f"There is no fault {name!r}; see `deployer sandbox faults`.")
        self._left[name] = count
        self._tell()

    def switch_off(self, name: str | None = None) -> None:
        """End one fault, or all."""
        if name is None:
            self._left.clear()
        self._left.pop(name or "", None)
        self._tell()

    def is_on(self, name: str) -> bool:
        """Whether the fault is on, without using it up."""
        return name in self._left

    def strikes(self, name: str) -> bool:
        """Whether the fault strikes now; each strike counts."""
        if name not in self._left:
            return False
        left = self._left[name]
        if left is not None:
            self._left[name] = left - 1
            if left <= 1:
                self.switch_off(name)
        return True

    def take(self, name: str) -> tuple[bool, int | None]:
        """Whether the fault is on, and its count, which is used up at once."""
        was_on, count = name in self._left, self._left.get(name)
        if was_on and count is not None:
            self.switch_off(name)
        return was_on, count

    def on(self) -> dict[str, int | None]:
        """The faults that are on, with the strikes left."""
        return dict(self._left)

    async def changed(self) -> None:
        """Wait until a fault is switched on or off."""
        await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def parse_fault(text: str) -> tuple[str, int | None]:
    """`NAME` or `NAME:COUNT`; raises UnknownFaultError or ValueError."""
    name, colon, count = text.partition(":")
    if name not in FAULTS:
        raise UnknownFaultError(f"There is no fault {name!r}; see `deployer sandbox faults`.")
    if not colon:
        return name, None
    if not count.isdecimal() or int(count) == 0:
        raise ValueError(f"{text!r}: the count after the colon is not a positive number")
    return name, int(count)
