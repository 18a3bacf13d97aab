"""What the Management API does behind POST deploy: check, one at a time, work, remember."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from deployer.sandbox.faults import Faults
from deployer.sandbox.ledger import Ledger
from deployer.sandbox.options import SHARED_REPOSITORY, Contract, Options, Tenant
from deployer.sandbox.shelf import Shelf

_IMAGE: Final = re.compile(
    r"(?P<name>(?P<registry>[^/@]+)/(?P<repository>[^@:]+))"
    r"(?::(?P<tag>[\w.-]{1,128}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is refused: the HTTP status, and the error's code and message."""

    http_status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Machine(Protocol):
    """What runs one tenant's image."""

    async def update(self, image: str) -> str | None:
        """Run `name@digest` in place of what runs; None if it answers, else why it does not."""

    async def alive(self) -> bool:
        """Whether it still runs."""


@dataclass(slots=True)
class Deployment:
    """One accepted deploy. It changes while it is worked on."""

    id: str
    tenant: Tenant
    image: str
    digest: str
    key: str | None
    status: str = "deploying"
    message: str | None = None
    settled: anyio.Event = field(default_factory=anyio.Event)


@dataclass(slots=True)
class Deploys:
    """The tenants' machines and what was deployed to them."""

    options: Options
    registry: str  # the gate's `host:port`, as images name it
    shelf: Shelf
    machines: Mapping[str, Machine]
    ledger: Ledger
    faults: Faults
    tasks: TaskGroup  # work goes on when the client hangs up
    _latest: dict[str, Deployment] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)

    async def accept(self, tenant: Tenant, image: str, key: str | None) -> Deployment | Problem:
        """Check the image and start the work on it."""
        named = self._checked(tenant, image)
        if isinstance(named, Problem):
            return named
        if tenant.id in self._busy:
            message = "another deploy of this tenant is being worked on"
            return Problem(409, "deploy_in_progress", message, {"Retry-After": "1"})
        self._busy.add(tenant.id)
        digest = await self._digest(named)
        if digest is None:
            self._busy.discard(tenant.id)
            return Problem(404, "image_not_found", f"the registry has no image {image}")
        deployment = Deployment(self.ledger.next_id(), tenant, image, digest, key)
        self._latest[tenant.id] = deployment
        self.tasks.start_soon(self._work, deployment, f"{named['name']}@{digest}")
        return deployment

    def repository(self, tenant: Tenant) -> str:
        """Where the tenant's images belong."""
        shared = self.options.contract is Contract.SERVER_TAG
        return SHARED_REPOSITORY if shared else tenant.app

    def tag(self, tenant: Tenant) -> str | None:
        """The only tag the server takes; None where the client chooses."""
        return f"tenant-{tenant.id}" if self.options.contract is Contract.SERVER_TAG else None

    def _checked(self, tenant: Tenant, image: str) -> re.Match[str] | Problem:
        named = _IMAGE.fullmatch(image)
        expected = f"{self.registry}/{self.repository(tenant)}"
        tag = self.tag(tenant)
        ours = named is not None and named["name"] == expected and tag in (None, named["tag"])
        if named and ours and (named["tag"] or named["digest"]):
            return named
        wanted = f"{expected}:{tag or '<tag>'}"
        return Problem(400, "image_not_accepted", f"expected the image {wanted}, not {image}")

    async def _digest(self, named: re.Match[str]) -> str | None:
        if self.faults.strikes("deploy-image-not-found"):
            return None
        return await self.shelf.digest(named["repository"], named["digest"] or named["tag"])

    async def _work(self, deployment: Deployment, pinned: str) -> None:
        await anyio.sleep(self.options.work_seconds)
        deployment.message = await self._execute(deployment, pinned)
        deployment.status = "failed" if deployment.message else "running"
        self._busy.discard(deployment.tenant.id)
        if self.faults.strikes("deploy-superseded"):
            self._supersede(deployment)
        deployment.settled.set()

    async def _execute(self, deployment: Deployment, pinned: str) -> str | None:
        if self.faults.strikes("deploy-update-failed"):
            return "the machine could not be updated"
        await self.ledger.append(
            {
                "id": deployment.id,
                "tenant": deployment.tenant.id,
                "image": deployment.image,
                "digest": deployment.digest,
                "key": deployment.key,
            }
        )
        return await self.machines[deployment.tenant.id].update(pinned)

    def _supersede(self, mine: Deployment) -> None:
        name, _, _ = mine.image.rpartition(":")
        other = Deployment(
            self.ledger.next_id(), mine.tenant, f"{name}:by-someone-else", mine.digest, None
        )
        other.status = mine.status
        self._latest[mine.tenant.id] = other

    async def latest(self, tenant: Tenant) -> Deployment | None:
        """The last accepted deploy, with what its machine is doing now."""
        deployment = self._latest.get(tenant.id)
        running = deployment is not None and deployment.status == "running"
        if deployment is not None and running and not await self.machines[tenant.id].alive():
            deployment.status, deployment.message = "failed", "the machine runs no container"
        return deployment
