"""What the states need from the outside, as protocols. Adapters fit them structurally."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deployer.events import Transient, Waiting
from deployer.failures import Failure
from deployer.model import (
    Binary,
    Crate,
    Deployment,
    Health,
    Image,
    Login,
    Revision,
    Secret,
    TenantStatus,
)
from deployer.names import Digest, ImageId, ImageRef, RunId
from deployer.run import Facts, Intent, OnLock, Phase, Run, RunRecord, Settlement, Step
from deployer.states.flow import Move

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
    platform: str = ""  # "linux/amd64"; "": it does not say


# Where a run's image goes, and the login for it; None: it cannot be known yet.
Destination = Callable[[], Awaitable[tuple[ImageRef, Login] | None]]


def nobody(_path: Path) -> None:
    """For who does not want to know what cargo has made."""


async def ready() -> None:
    """For adapters that have nothing to load."""


class Toolchain(Protocol):
    """cargo."""

    def crates(self, project_root: Path) -> tuple[Crate, ...] | Failure:
        """Which builds the project needs; reads manifests only."""

    def crate_flaws(self, project_root: Path) -> tuple[Failure, ...]:
        """All that is wrong with the manifests; `crates` tells the first."""

    def queries(self) -> str | Failure:
        """What sqlx checks the queries against."""

    def has_queries(self, project_root: Path) -> bool:
        """Whether a lock file of the project names sqlx; True where there is none to tell."""

    async def check(self, project_root: Path) -> str | Failure:
        """cargo's version."""

    async def build(
        self,
        project_root: Path,
        crates: Sequence[Crate],
        emit: Emit,
        built: Callable[[Path], None] = nobody,
    ) -> tuple[Binary, ...] | Failure:
        """Compile each crate once into the root `target/`, and hash what came out.

        `built` hears of each program as soon as cargo names it; a later crate may replace it.
        """

    async def damaged(self, binaries: Sequence[Binary]) -> tuple[Binary, ...]:
        """Those that are gone or are not what Building left."""

    async def clean(self, project_root: Path, binaries: Sequence[Binary]) -> Failure | None:
        """Make cargo forget these: it calls a truncated binary fresh (measured)."""


class BuildContext(Protocol):
    """What the Dockerfile copies, before any engine is asked."""

    async def survey(self, order: ImageOrder, pending: frozenset[str]) -> ContextSummary | Failure:
        """Check each COPY source; `pending` are paths that Building will make."""

    async def flaws(self, order: ImageOrder, pending: frozenset[str]) -> tuple[Failure, ...]:
        """All that is wrong with it; `survey` tells the first."""


class Ahead(Protocol):
    """What is done for a run's image while cargo runs. No state rests on it."""

    async def work(self) -> None:
        """Do what can be done, until `finish` or `stop`. Fails never."""

    def built(self, path: Path) -> None:
        """Cargo has named this program."""

    async def finish(self) -> None:
        """Return when what was begun is over."""

    def stop(self) -> None:
        """Drop everything."""


class Idle:
    """Fits `Ahead`, and does nothing."""

    async def work(self) -> None:
        """Do nothing."""

    def built(self, path: Path) -> None:
        """Do nothing."""

    async def finish(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Engine(Protocol):
    """A Docker Engine, any vendor's."""

    async def ping(self) -> EngineInfo | Failure:
        """Who answers at the engine's address."""

    def ahead(
        self, order: ImageOrder, pending: frozenset[str], destination: Destination, emit: Emit
    ) -> Ahead:
        """Who does what can be done for `destination` while cargo makes the `pending` paths."""

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        """Build for linux/amd64. Success is the engine's own image id."""

    async def data_root(self) -> Path | Failure | None:
        """Where it keeps images, if that is a directory of this machine."""

    async def image_id(self, name: str) -> ImageId | Failure | None:
        """The id behind a local name; None when there is no such image."""

    async def push(
        self, local: str, target: ImageRef, login: Login, emit: Emit
    ) -> Digest | Failure:
        """Tag `local` as `target` and push it. Success is the digest that the engine reports."""

    async def retain(self, name: str, kept: str) -> None:
        """Keep the image `name` under the name `kept`, best effort, in place of an older one.

        The classic builder's cache lives as long as an image that came out of it.
        """

    async def forget(self, names: Sequence[str]) -> None:
        """Remove these names, best effort; other names of the same image stay."""


class DirectBuilder(Engine, Protocol):
    """The builder that needs no engine."""

    async def qualifies(self, order: ImageOrder) -> Failure | None:
        """Why the Dockerfile by itself needs an engine; None: it does not."""

    async def foresee(
        self, order: ImageOrder, pending: frozenset[str], emit: Emit
    ) -> Failure | None:
        """The same, with the base image and the sources; `pending` are still to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the Management API takes us for."""

    user: str
    server_time: float | None  # seconds since the epoch, by the server's clock


class ManagementApi(Protocol):
    """The tenant's control plane."""

    async def account(self) -> Account | Failure:
        """GET auth/me. Safe to repeat."""

    async def registry_login(self, tenant: str) -> Login | Failure:
        """GET registry-token. Safe to repeat."""

    async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
        """POST deploy, once. A failure of `outcome_unknown` when the server may have done the work."""

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        """GET status; None where the server has no such route."""


class Registry(Protocol):
    """The registry, looked at by ourselves: an engine's word is prose."""

    async def probe(self, login: Login) -> Failure | None:
        """GET /v2/ with the login: is it a registry, and does it take us?"""

    async def may_push(self, ref: ImageRef, login: Login) -> Failure | None:
        """Open an upload session in `ref`'s repository, and end it: nothing stays there."""

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

    async def version(self) -> str | None:
        """git's own version; None where there is no git."""


class Database(Protocol):
    """The database that the project's queries are compiled against."""

    async def look(self) -> str | None:
        """Why it cannot be reached; None when it can, or none is named."""


class Journal(Protocol):
    """What outlives the process. Each method is one transaction, durable when it returns.

    `enter` alone is durable with the next one. Writes compare the run's fence and sequence:
    SupersededError when another process has taken the run over. JournalError when nothing can be
    written; then nothing may go on.
    """

    def hold(
        self, tenant: str, on_lock: OnLock, tell: Callable[[Waiting], None]
    ) -> AbstractAsyncContextManager[None]:
        """Be the only process that deploys this tenant.

        BusyError says who is; SupersededError: a newer one waits. `tell` hears of each wait.
        """

    async def check(self) -> None:
        """Raise JournalError where no run could be stored; nothing is made."""

    async def open_run(self, run: Run) -> Run:
        """Store a new run; an interrupted one of the tenant is abandoned in the same transaction."""

    async def open_of(self, tenant: str) -> Run | None:
        """The tenant's run that is neither done, failed nor abandoned."""

    async def latest(self, tenant: str) -> Run | None:
        """The tenant's newest run."""

    async def tags(self, tenant: str) -> frozenset[str]:
        """The tags of all runs of the tenant."""

    async def run(self, run_id: RunId) -> Run | None:
        """The run with this id."""

    async def take_over(self, run: Run) -> Run:
        """Raise the fence: whoever held the run before can write no more."""

    async def commit(self, run: Run, move: Move, step: Step | Failure, seconds: float) -> Run:
        """Store a move with what it leaves."""

    async def enter(self, run: Run) -> Run:
        """Note that the work of the run's state begins."""

    async def intend(self, run: Run, intent: Intent) -> Run:
        """Store that a POST is about to be sent."""

    async def answered(self, run: Run, facts: Facts) -> Run:
        """Store what a definite answer leaves; the intent is closed."""

    async def settled(self, run: Run, facts: Facts, settlement: Settlement) -> Run:
        """Store what a person says of the open intent, and close it."""

    async def interrupted(self, run: Run, seconds: float) -> Run:
        """Note that the run was cancelled in its state."""

    async def acknowledge(self, run_id: RunId) -> None:
        """Note that somebody heard the result."""

    async def history(self, tenant: str | None, limit: int) -> tuple[RunRecord, ...]:
        """The newest runs first."""

    async def phases(self, run_id: RunId) -> tuple[Phase, ...]:
        """How long each working state of a run took."""


class Clock(Protocol):
    """Time, so that tests need not wait for it."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What checks want to know of this machine and of the caller's settings."""

    state_dir: Path | None = None  # None: no journal on a disk
    login_ends: float | None = None  # of the API token, in seconds since the epoch
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """Everything outside, in one value; `dataclasses.replace` puts another one in."""

    toolchain: Toolchain
    context: BuildContext
    engine: Engine
    direct: DirectBuilder
    api: ManagementApi
    registry: Registry
    health: HealthProbe
    source: SourceControl
    journal: Journal
    clock: Clock
    scrub: Callable[[str], str]  # foreign text -> one line without secrets and control characters
    learn: Callable[[Secret], None]  # a secret that `scrub` takes out from now on
    aclose: Callable[[], Awaitable[None]]  # of the connections they share
    database: Database
    prepare: Callable[[], Coroutine[Any, Any, None]] = ready  # loads what the network will need
    surroundings: Surroundings = field(default_factory=Surroundings)


class Log(Protocol):
    """A structlog logger, or whatever the host passes in."""

    def info(self, event: str, **keys: object) -> object:
        """Log an event with its keys."""
