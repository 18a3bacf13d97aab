"""In-memory neighbours of a run: they do the work, and fail when they are told to."""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from deployer.events import OutputLine
from deployer.failures import Failure, Kind
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
from deployer.names import Digest, ImageId, ImageRef
from deployer.ports import (
    Account,
    Ahead,
    ContextSummary,
    Destination,
    Emit,
    EngineInfo,
    Idle,
    ImageOrder,
    Surroundings,
    nobody,
)
from deployer.states.flow import State

CRATES = (Crate(name="core", manifest=Path("core/Cargo.toml"), binaries=("systemprompt",)),)
LOGIN = Login(
    registry="registry.fly.io",
    username="x",
    password=Secret("registry-password"),
    repository="sp-ten-1",
)
REVISION = Revision(short_sha="a1b2c3d", dirty=False, fingerprint="f1")


def sha(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Clock:
    """Time that passes only in `sleep`."""

    now: float = 1_795_608_000.0
    slept: list[float] = field(default_factory=list)

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await anyio.lowlevel.checkpoint()


@dataclass
class Neighbours:
    """All of them in one: what is true over there, what was asked, and what fails next."""

    # Each call takes the next failure queued under its name, if there is one.
    fails: dict[str, deque[Failure]] = field(default_factory=dict)
    hang_in: str | None = None  # the call that never returns
    hanging: anyio.Event = field(default_factory=anyio.Event)
    calls: list[str] = field(default_factory=list)
    damaged_binaries: tuple[str, ...] = ()
    images: dict[str, ImageId] = field(default_factory=dict)
    manifests: dict[str, Digest] = field(default_factory=dict)
    login: Login = LOGIN
    deployed: list[str] = field(default_factory=list)  # executed deploys: the judge
    keys: dict[str, Deployment] = field(default_factory=dict)
    honours_keys: bool = False
    names_images: bool = True
    loses_answers: int = 0  # deploys that are done, but whose answer is lost
    deploy_status: str = "running"
    healthy: bool = True
    needs_engine: bool = True  # what the direct builder says of the Dockerfile
    revised: Revision = REVISION
    crates_made: tuple[Crate, ...] = CRATES
    sources: tuple[str, ...] = ("target/release/systemprompt", "core/web/dist/")
    flawed: dict[str, tuple[Failure, ...]] = field(default_factory=dict)
    engine_platform: str = "linux/amd64"
    server_time: float | None = None
    database_trouble: str | None = None
    git: str | None = "2.39.2"
    surroundings: Surroundings = field(default_factory=Surroundings)

    async def _called(self, name: str) -> Failure | None:
        self.calls.append(name)
        if self.hang_in == name:
            self.hanging.set()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        queue = self.fails.get(name)
        return queue.popleft() if queue else None

    # cargo

    def crates(self, project_root: Path) -> tuple[Crate, ...] | Failure:
        return next(iter(self.flawed.get("crates", ())), self.crates_made)

    def crate_flaws(self, project_root: Path) -> tuple[Failure, ...]:
        return self.flawed.get("crates", ())

    def has_queries(self, project_root: Path) -> bool:
        return True

    def queries(self) -> str | Failure:
        queue = self.fails.get("queries")
        return queue.popleft() if queue else "a database"

    async def check(self, project_root: Path) -> str | Failure:
        return await self._called("check") or "cargo 1.95.0"

    async def build(
        self,
        project_root: Path,
        crates: Sequence[Crate],
        emit: Emit,
        built: Callable[[Path], None] = nobody,
    ) -> tuple[Binary, ...] | Failure:
        failure = await self._called("compile")
        built(project_root / "target/release/systemprompt")
        emit(OutputLine(source="cargo", text="Compiling core"))
        self.damaged_binaries = ()
        path = project_root / "target/release/systemprompt"
        binary = Binary(name="systemprompt", path=path, size=4, sha256="0" * 64, package="core")
        return failure or (binary,)

    async def damaged(self, binaries: Sequence[Binary]) -> tuple[Binary, ...]:
        return tuple(binary for binary in binaries if binary.name in self.damaged_binaries)

    async def clean(self, project_root: Path, binaries: Sequence[Binary]) -> Failure | None:
        return await self._called("clean")

    # the build context

    async def survey(self, order: ImageOrder, pending: frozenset[str]) -> ContextSummary | Failure:
        failure = await self._called("survey")
        return failure or ContextSummary(files=3, size=1000, sources=self.sources)

    async def flaws(self, order: ImageOrder, pending: frozenset[str]) -> tuple[Failure, ...]:
        return self.flawed.get("context", ())

    # the database

    async def look(self) -> str | None:
        return self.database_trouble

    # git

    async def version(self) -> str | None:
        return self.git

    async def revision(self, project_root: Path) -> Revision:
        return self.revised


@dataclass
class Early:
    """Who works while cargo does: here it only notes that, and where it would send to."""

    of: "Neighbours"
    pending: frozenset[str]
    destination: Destination
    stopped: anyio.Event = field(default_factory=anyio.Event)

    async def work(self) -> None:
        await self.of._called("ahead")
        found = await self.destination()
        self.of.calls.append(f"ahead to {found[0].repository if found else None}")
        await self.stopped.wait()
        self.of.calls.append("ahead stopped")

    def built(self, path: Path) -> None:
        self.of.calls.append(f"ahead built {path.name}")

    async def finish(self) -> None:
        self.of.calls.append("ahead finished")

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class Engine:
    """The engine's side."""

    of: Neighbours

    async def ping(self) -> EngineInfo | Failure:
        failure = await self.of._called("ping")
        return failure or EngineInfo(
            endpoint="unix:///e",
            version="20.10",
            vendor="Docker Engine",
            platform=self.of.engine_platform,
        )

    async def data_root(self) -> Path | Failure | None:
        return await self.of._called("data_root")

    def ahead(
        self, order: ImageOrder, pending: frozenset[str], destination: Destination, emit: Emit
    ) -> Ahead:
        return Idle()

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        failure = await self.of._called("image")
        if failure:
            return failure
        image_id = ImageId(sha(order.local_tag))
        self.of.images[order.local_tag] = image_id
        return Image(
            image_id=image_id, local_tag=order.local_tag, architecture="amd64", os="linux", size=9
        )

    async def image_id(self, name: str) -> ImageId | Failure | None:
        return self.of.images.get(name)

    async def push(
        self, local: str, target: ImageRef, login: Login, emit: Emit
    ) -> Digest | Failure:
        failure = await self.of._called("push")
        if failure:
            return failure
        digest = Digest(sha(self.of.images[local]))
        self.of.manifests[str(target)] = digest
        return digest

    async def retain(self, name: str, kept: str) -> None:
        self.of.images[kept] = self.of.images[name]

    async def forget(self, names: Sequence[str]) -> None:
        for name in names:
            self.of.images.pop(name, None)


@dataclass
class DirectBuilder(Engine):
    """The same without an engine: its images are known to it alone."""

    async def qualifies(self, order: ImageOrder) -> Failure | None:
        return await self.of._called("qualifies") or self._refusal()

    async def foresee(
        self, order: ImageOrder, pending: frozenset[str], emit: Emit
    ) -> Failure | None:
        return await self.of._called("foresee") or self._refusal()

    def _refusal(self) -> Failure | None:
        if self.of.needs_engine:
            cause = "line 2: RUN executes a command: needs an engine"
            return Failure(phase=State.IMAGING, kind=Kind.NEEDS_ENGINE, cause=cause)
        return None

    def ahead(
        self, order: ImageOrder, pending: frozenset[str], destination: Destination, emit: Emit
    ) -> Ahead:
        return Early(self.of, pending, destination)

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        return await self.of._called("image directly") or await super().build(order, emit)


@dataclass
class Api:
    """The Management API's side."""

    of: Neighbours

    async def account(self) -> Account | Failure:
        failure = await self.of._called("account")
        return failure or Account(user="you@example.com", server_time=self.of.server_time)

    async def registry_login(self, tenant: str) -> Login | Failure:
        return await self.of._called("login") or self.of.login

    async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
        failure = await self.of._called("deploy")
        if failure and not failure.outcome_unknown:
            return failure
        if self.of.honours_keys and key in self.of.keys:
            return self.of.keys[key]
        if failure and not self.of.loses_answers:
            return failure
        answer = self._executed(image, key)
        if failure:
            self.of.loses_answers -= 1
        return failure or answer

    def _executed(self, image: str, key: str) -> Deployment:
        self.of.deployed.append(image)
        answer = Deployment(
            deploy_status=self.of.deploy_status,
            url="https://app.example",
            deploy_id=f"d{len(self.of.deployed)}",
        )
        self.of.keys[key] = answer
        return answer

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        failure = await self.of._called("status")
        if failure:
            return failure
        image = self.of.deployed[-1] if self.of.deployed else None
        deploy_id = f"d{len(self.of.deployed)}" if self.of.deployed else None
        names = self.of.names_images
        return TenantStatus(
            deploy_status=self.of.deploy_status,
            image=image if names else None,
            deploy_id=deploy_id if names else None,
            names_images=names,
            capabilities=frozenset({"idempotency-key"} if self.of.honours_keys else ()),
        )


@dataclass
class Registry:
    """The registry's side."""

    of: Neighbours

    async def probe(self, login: Login) -> Failure | None:
        return await self.of._called("probe")

    async def may_push(self, ref: ImageRef, login: Login) -> Failure | None:
        return await self.of._called("may_push")

    async def digest(self, ref: ImageRef, login: Login) -> Digest | Failure | None:
        return await self.of._called("digest") or self.of.manifests.get(str(ref))

    async def retag(self, ref: ImageRef, digest: Digest, login: Login) -> Failure | None:
        failure = await self.of._called("retag")
        if failure is None:
            self.of.manifests[str(ref)] = digest
        return failure


@dataclass
class PublicUrl:
    """The tenant's public URL."""

    of: Neighbours

    async def look(self, url: str) -> Health:
        await self.of._called("health")
        return Health(healthy=self.of.healthy, word="healthy" if self.of.healthy else "503")
