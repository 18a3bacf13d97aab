"""What the states need from the outside, as protocols. Adapters fit them structurally."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deployer.events import Transient
from deployer.failures import Failure
from deployer.model import (
    Binary,
    Crate,
    Deployment,
    Digest,
    Health,
    Image,
    ImageId,
    ImageRef,
    Login,
    Revision,
    TenantStatus,
)

# Adapters tell what happens through this; it never blocks and never raises.
Emit = Callable[[Transient], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """What to build: the context is the project root, the Dockerfile lies inside it."""

    project_root: Path
    dockerfile: Path  # relative to the project root
    local_tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSummary:
    """What the engine would receive."""

    files: int
    size: int  # bytes
    sources: tuple[str, ...]  # the COPY and ADD sources, as written
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The engine in use."""

    endpoint: str
    version: str
    vendor: str  # "Docker Engine", "Podman Engine"


class Toolchain(Protocol):
    """cargo."""

    def crates(self, project_root: Path) -> tuple[Crate, ...] | Failure:
        """Which builds the project needs; reads manifests only."""

    async def check(self, project_root: Path) -> str | Failure:
        """cargo's version, once DATABASE_URL and cargo itself are found."""

    async def build(
        self, project_root: Path, crates: Sequence[Crate], emit: Emit
    ) -> tuple[Binary, ...] | Failure:
        """Compile each crate once into the root `target/`, and hash what came out."""

    async def damaged(self, binaries: Sequence[Binary]) -> tuple[Binary, ...]:
        """Those that are gone or are not what Building left."""

    async def clean(self, project_root: Path, binaries: Sequence[Binary]) -> Failure | None:
        """Make cargo forget these: it calls a truncated binary fresh (measured)."""


class BuildContext(Protocol):
    """What the Dockerfile copies, before any engine is asked."""

    async def survey(self, order: ImageOrder, pending: frozenset[str]) -> ContextSummary | Failure:
        """Check each COPY source; `pending` are paths that Building will make."""


class Engine(Protocol):
    """A Docker Engine, any vendor's."""

    async def ping(self) -> EngineInfo | Failure:
        """Who answers at the engine's address."""

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        """Build for linux/amd64. Success is the engine's own image id."""

    async def image_id(self, name: str) -> ImageId | Failure | None:
        """The id behind a local name; None when there is no such image."""

    async def push(
        self, local: str, target: ImageRef, login: Login, emit: Emit
    ) -> Digest | Failure:
        """Tag `local` as `target` and push it. Success is the digest that the engine reports."""

    async def forget(self, names: Sequence[str]) -> None:
        """Remove these names, best effort; other names of the same image stay."""


class ManagementApi(Protocol):
    """The tenant's control plane."""

    async def registry_login(self, tenant: str) -> Login | Failure:
        """GET registry-token. Safe to repeat."""

    async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
        """POST deploy, once. OUTCOME_UNKNOWN when the server may have done the work."""

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        """GET status; None where the server has no such route."""


class Registry(Protocol):
    """The registry, looked at by ourselves: an engine's word is prose."""

    async def probe(self, login: Login) -> Failure | None:
        """GET /v2/ with the login: is it a registry, and does it take us?"""

    async def digest(self, ref: ImageRef, login: Login) -> Digest | Failure | None:
        """HEAD the manifest; None when the registry has none under this tag."""

    async def retag(self, ref: ImageRef, digest: Digest, login: Login) -> Failure | None:
        """PUT the manifest `digest` under `ref`'s tag, without moving a layer."""


class HealthProbe(Protocol):
    """The tenant's public URL."""

    async def look(self, url: str) -> Health:
        """GET the health routes once."""


class SourceControl(Protocol):
    """git."""

    async def revision(self, project_root: Path) -> Revision:
        """Commit and cleanliness; `unknown` outside a repository."""


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""


class Log(Protocol):
    """A structlog logger, or whatever the host passes in."""

    def info(self, event: str, **keys: object) -> object:
        """Log an event with its keys."""
