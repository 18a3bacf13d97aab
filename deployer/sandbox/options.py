"""What a user can choose about a sandbox, and the two tenants that live in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Contract(StrEnum):
    """Which generation of the Management API is spoken."""

    OWN_TAG = "own-tag"  # a repository a tenant, the client names the tag, bare bodies
    SERVER_TAG = "server-tag"  # one shared repository, the server names the tag, {"data": …}


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer of the platform."""

    id: str
    app: str  # the Fly app, and the tenant's repository on the own-tag contract


TENANTS: Final = (
    Tenant("ten-abc123", "sp-ten-abc123"),
    Tenant("ten-def456", "sp-ten-def456"),
    Tenant("ten-ghi789", "sp-ten-ghi789"),
)
SHARED_REPOSITORY: Final = "systemprompt-images"
BASE_PORT: Final = 7070


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a sandbox is set up. Durations are in seconds."""

    cache: Path  # downloads; shared by sandboxes
    folder: Path  # what one sandbox keeps: engine data, images, deploy log; one user at a time
    environ: Mapping[str, str]
    contract: Contract = Contract.OWN_TAG
    base_port: int = BASE_PORT  # the API's, the others follow it; 0: any free ones
    faults: Mapping[str, int | None]  # name -> how often; None: until switched off
    work_seconds: float = 0.0  # how long the server works before a deploy takes effect
    login_seconds: float = 300.0  # how long a registry login is good for
    no_engine: bool = False  # images are checked instead of run
    answer_at_once: bool = False  # POST deploy answers `deploying` and does not wait

    def port(self, offset: int) -> int:
        """The port of the nth server; 0 lets the kernel choose."""
        return self.base_port and self.base_port + offset
