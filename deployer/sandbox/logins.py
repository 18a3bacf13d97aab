"""The registry logins that the Management API hands out, and what each may do."""

import secrets
from dataclasses import dataclass, field
from enum import Enum

import anyio

from deployer.sandbox.faults import EXPIRES_AFTER, Faults


class Verdict(Enum):
    """What the registry makes of a login."""

    GOOD = "good"
    UNKNOWN = "unauthorized"
    EXPIRED = "token expired"


@dataclass(slots=True)
class Grant:
    """One login: a repository, perhaps one tag in it, for a time."""

    repository: str | None  # None: any, for the machine
    tag: str | None = None  # None: any tag may be written
    expires: float = float("inf")  # on the event loop's clock
    requests_left: int | None = None  # None: no limit

    def covers(self, repository: str) -> bool:
        """Whether the login is for this repository."""
        return self.repository in (None, repository)

    def may_write(self, reference: str) -> bool:
        """Whether a manifest may be put under this tag or digest."""
        return self.tag in (None, reference) or reference.startswith("sha256:")


@dataclass(slots=True)
class Logins:
    """All logins ever handed out in this sandbox, by password."""

    faults: Faults
    seconds: float  # how long a login is good for
    machine: str = field(default_factory=lambda: secrets.token_hex(16))  # pulls anything
    _grants: dict[str, Grant] = field(default_factory=dict)

    def mint(self, repository: str, tag: str | None) -> str:
        """A new password for the user `x`."""
        if self.faults.strikes("token-empty-password"):
            return ""
        password = f"FlyV1-{secrets.token_urlsafe(32)}"
        if self.faults.strikes("registry-wrong-password"):
            return password  # and nobody at the registry knows it
        expires_early, count = self.faults.take("push-expire")
        self._grants[password] = Grant(
            repository,
            tag,
            expires=anyio.current_time() + self.seconds,
            requests_left=(count or EXPIRES_AFTER) if expires_early else None,
        )
        return password

    def judge(self, user: str, password: str) -> tuple[Verdict, Grant]:
        """What the login is worth for one more request."""
        if user == "x" and secrets.compare_digest(password.encode(), self.machine.encode()):
            return Verdict.GOOD, Grant(repository=None)
        grant = self._grants.get(password) if user == "x" else None
        if grant is None:
            return Verdict.UNKNOWN, Grant(repository="")
        if grant.requests_left == 0 or anyio.current_time() > grant.expires:
            return Verdict.EXPIRED, grant
        if grant.requests_left is not None:
            grant.requests_left -= 1
        return Verdict.GOOD, grant
