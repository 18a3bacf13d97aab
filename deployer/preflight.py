"""What can be known before the long compile: all checks at once, each with its remedy."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from deployer.failures import Failure
from deployer.model import Crate, DeployRequest, ImageRef, Login, Plan, Revision
from deployer.ports import Adapters, ContextSummary, EngineInfo, ImageOrder
from deployer.states.authenticating import target_of

T = TypeVar("T")
# The name only has to be legal: nothing is built under it.
_NO_TAG: Final = "deployer-run:preflight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    text: str  # what was found
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether a deploy may go on."""
        return self.failure is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What was looked at, and what a run would do."""

    request: DeployRequest
    revision: Revision
    crates: tuple[Crate, ...] = ()
    checks: tuple[Check, ...] = ()
    context: ContextSummary | None = None  # None: nothing is built, or it failed
    target: ImageRef | None = None  # None: it is not known where the image would go

    @property
    def failure(self) -> Failure | None:
        """The first failure, in the order in which a run would meet them."""
        return next((check.failure for check in self.checks if check.failure), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not stop a deploy."""
        dirty = ("uncommitted changes are deployed",) if self.revision.dirty else ()
        return dirty + (self.context.warnings if self.context else ())


@dataclass(slots=True)
class _Later(Generic[T]):
    """The result of work in a task group, once the group has ended."""

    results: list[T] = field(default_factory=list)

    @property
    def value(self) -> T | None:
        """None when the work was not started."""
        return self.results[0] if self.results else None

    def begin(self, group: TaskGroup, work: Callable[[], Awaitable[T]]) -> None:
        async def run() -> None:
            self.results.append(await work())

        group.start_soon(run)


async def preflight(plan: Plan, adapters: Adapters) -> Preflight:
    """Look at everything that `plan` needs, without an effect anywhere."""
    request, root = plan.request, plan.request.project_root
    compiles = not request.skip_push
    crates = adapters.toolchain.crates(root) if compiles else ()
    known = crates if isinstance(crates, tuple) else ()
    cargo = _Later[str | Failure]()
    context = _Later[ContextSummary | Failure]()
    engine = _Later[EngineInfo | Failure]()
    login = _Later[Login | Failure]()
    async with anyio.create_task_group() as group:
        login.begin(group, lambda: _login(request, adapters))
        if compiles:
            cargo.begin(group, lambda: adapters.toolchain.check(root))
            context.begin(group, lambda: _survey(request, known, adapters))
            engine.begin(group, adapters.engine.ping)
    target = target_of(plan, login.value) if isinstance(login.value, Login) else None
    checks = (
        _check("crates", crates or None, lambda found: ", ".join(crate.name for crate in found)),
        _check("cargo", cargo.value, str),
        _check("context", context.value, lambda found: f"{found.files} files, {found.size} bytes"),
        _check("engine", engine.value, lambda found: f"{found.vendor} {found.version}"),
        _check("login", login.value, lambda found: f"registry {found.registry}"),
        _check("image", target, str),
    )
    return Preflight(
        request=request,
        revision=plan.revision,
        crates=known,
        checks=tuple(check for check in checks if check is not None),
        context=context.value if isinstance(context.value, ContextSummary) else None,
        target=target if isinstance(target, ImageRef) else None,
    )


async def _survey(
    request: DeployRequest, crates: tuple[Crate, ...], adapters: Adapters
) -> ContextSummary | Failure:
    order = ImageOrder(
        project_root=request.project_root, dockerfile=request.dockerfile, local_tag=_NO_TAG
    )
    pending = frozenset(f"target/release/{name}" for crate in crates for name in crate.binaries)
    return await adapters.context.survey(order, pending)


async def _login(request: DeployRequest, adapters: Adapters) -> Login | Failure:
    """A login that the registry takes: found out now, not after the compile."""
    login = await adapters.api.registry_login(request.tenant)
    if isinstance(login, Failure):
        return login
    adapters.learn(login.password)
    return await adapters.registry.probe(login) or login


def _check(name: str, found: T | Failure | None, text: Callable[[T], str]) -> Check | None:
    if found is None:
        return None
    if isinstance(found, Failure):
        return Check(name=name, text=found.cause, failure=found)
    return Check(name=name, text=text(found))


def scrubbed(report: Preflight, scrub: Callable[[Failure], Failure]) -> Preflight:
    """`report` with each failure passed through `scrub`."""
    return replace(report, checks=tuple(_scrubbed(check, scrub) for check in report.checks))


def _scrubbed(check: Check, scrub: Callable[[Failure], Failure]) -> Check:
    if check.failure is None:
        return check
    failure = scrub(check.failure)
    return replace(check, text=failure.cause, failure=failure)
