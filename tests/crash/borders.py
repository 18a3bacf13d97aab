"""One deploy whose network fails at one border, and the next one without the fault.

The product is the embedded one, with its own adapters, deadlines and pauses; cargo and git are
stand-ins. Server, tool and faults share a loop whose clock skips what is only waited for.
"""

import io
import random
import shutil
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio

from deployer.adapters.http.url import ApiUrl
from deployer.adapters.journal.journal import Journal
from deployer.api import Deployer
from deployer.cli.output import Out
from deployer.cli.plain import PlainLines
from deployer.cli.report import of_result
from deployer.cli.wording import closing
from deployer.doctor.exam import PATIENCE_SECONDS, TRIES
from deployer.events import Event
from deployer.failures import BACKOFF, ExitCode, Failure, Kind
from deployer.model import Binary, Crate, Secret
from deployer.ports import Emit, nobody
from deployer.result import DeployResult
from deployer.run import BuilderWish, DeployRequest, Run, Settlement, WaitPolicy
from deployer.sandbox.options import Contract
from deployer.settings.values import Settings
from deployer.states.flow import State
from deployer.wiring import wired
from tests.crash.bench import DATABASE_PASSWORD, Bench
from tests.crash.check import CONTROLS, check, executed
from tests.crash.kills import UPLOAD_MAX
from tests.crash.site import stand_in_site
from tests.fakes.neighbours import Neighbours
from tests.servers.faulty import Door, Fault, tcp_door, unix_door
from tests.servers.raw_http import RawServer, Request, answer, raw_server
from tests.servers.registry import memory_registry, with_base
from tests.servers.skipping import LoopClock, skipped

DONE: Final = "done"
AT_ONCE: Final = 2.0  # seconds: what a permanent failure may take
SETTLE: Final = 60.0
LOGIN_SECONDS: Final = 3600.0  # so that no stall outlasts it
CARGO_SECONDS: Final = 200.0  # where something is to happen meanwhile
LARGE: Final = 1_600_000  # bytes that no codec makes smaller: more than any fault lets pass
SMALL: Final = 20_000
_PROGRAM: Final = "target/release/systemprompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault at one border, and what may come of it."""

    name: str
    border: str  # api, registry, base, engine, url
    fault: Fault | None = None  # None: what is said below
    ends: tuple[str, ...]  # failure ids; DONE
    route: str = ""  # what the request must begin with, as a regular expression
    at: State | None = None  # it begins with this state; None: before the preflight
    strikes: int | None = None  # None: until the run has ended
    builder: BuilderWish = BuilderWish.ENGINE
    contract: Contract = Contract.OWN_TAG
    attempt: float = AT_ONCE  # seconds that one try may take
    pauses: float | None = None  # seconds between all tries; None: as the catalogue has them
    sandbox: tuple[str, ...] = ()  # faults of the site, from the beginning
    expires_after: int | None = None  # requests that the next login is good for
    forgets_base: bool = False  # what the preflight learnt of the base image is lost
    while_building: bool = False  # cargo takes its time, and the fault ends with it
    large: bool = False  # the base image's layer and the program
    by_hand: bool = False  # somebody must say what became of the POST

    def __str__(self) -> str:
        """What pytest shows."""
        return self.name


class _Announcing(Journal):
    """The journal, which lets somebody know before the work of a state begins."""

    announce: Callable[[State], Awaitable[None]]

    async def enter(self, run: Run) -> Run:
        await self.announce(run.state)
        return await super().enter(run)


@dataclass
class _Patient(Neighbours):
    """A cargo that takes its time."""

    seconds: float = 0.0

    async def build(
        self,
        project_root: Path,
        crates: Sequence[Crate],
        emit: Emit,
        built: Callable[[Path], None] = nobody,
    ) -> tuple[Binary, ...] | Failure:
        await anyio.sleep(self.seconds)
        return await super().build(project_root, crates, emit, built)


@dataclass(slots=True)
class Place:
    """A bench, the doors before its servers, and the product."""

    bench: Bench
    doors: dict[str, Door]
    case: Case
    stranger: RawServer  # whom redirects name
    err: Out  # what a person would read, kept where the judge looks for secrets
    neighbours: Neighbours
    struck: bool = False  # the fault was switched on

    @asynccontextmanager
    async def deployer(self) -> AsyncIterator[Deployer]:
        """One process's deployer."""
        settings, clock = self._settings(), LoopClock()
        journal = _Announcing(settings.state_dir, ApiUrl(settings.api_url), clock)
        journal.announce = self._begin
        adapters = replace(
            wired(settings),
            toolchain=self.neighbours,
            source=self.neighbours,
            database=self.neighbours,
            journal=journal,
            clock=clock,
        )
        try:
            async with Deployer(adapters) as deployer:
                yield deployer
        finally:
            await journal.aclose()

    def _settings(self) -> Settings:
        known = self.bench.site.environment
        return Settings(
            api_url=known["SYSTEMPROMPT_API_URL"],
            api_token=Secret(known["SYSTEMPROMPT_API_TOKEN"]),
            state_dir=self.bench.state_dir,
            environment={},
            docker_host=f"unix://{self.bench.folder / 'front.sock'}",
            database_url=Secret(f"postgres://u:{DATABASE_PASSWORD}@127.0.0.1:1/x"),
            base_registry=f"127.0.0.1:{self.doors['base'].port}",
        )

    async def _begin(self, state: State | None) -> None:
        """Switch the fault on, where it belongs."""
        case = self.case
        if case.while_building and state is State.IMAGING:
            await self.heal()
        if self.struck or state is not case.at:
            return
        self.struck = True
        if case.forgets_base:
            shutil.rmtree(self.bench.state_dir / "images", ignore_errors=True)
        if case.expires_after:
            self.bench.site.faults.switch_on("push-expire", case.expires_after)
        if case.fault is not None:
            await self.doors[case.border].break_with(case.fault, case.route, case.strikes)

    async def heal(self) -> None:
        """From now on nothing fails."""
        self.bench.site.faults.switch_off()
        for door in self.doors.values():
            await door.heal()

    async def deploy(self) -> DeployResult:
        """`deploy`, with the fault where the case wants it."""
        for name in self.case.sandbox:
            self.bench.site.faults.switch_on(name)
        await self._begin(None)
        async with self.deployer() as deployer:
            told = self._telling()
            return self._tell(await deployer.deploy(self._request(), on_event=told))

    async def resume(self) -> DeployResult:
        """`resume`."""
        async with self.deployer() as deployer:
            told = self._telling()
            return self._tell(await deployer.resume(self.bench.tenant.id, on_event=told))

    async def settle(self, run: str) -> None:
        """Say what became of the POST, as the server's own book has it."""
        known = Settlement.DEPLOYED if executed(self.bench) else Settlement.NOT_DEPLOYED
        async with self.deployer() as deployer:
            await deployer.settle(self.bench.tenant.id, run, known)

    def _request(self) -> DeployRequest:
        return DeployRequest(
            tenant=self.bench.tenant.id,
            project_root=self.bench.project,
            app=self.bench.tenant.app,
            builder=self.case.builder,
            wait=WaitPolicy(settle=SETTLE),
        )

    def _telling(self) -> Callable[[Event], None]:
        return PlainLines(self.err, anyio.current_time, verbose=True, grouped=False).event

    def _tell(self, result: DeployResult) -> DeployResult:
        for line in closing(of_result(result)):
            self.err.line(line.text)
        return result


@asynccontextmanager
async def place(case: Case, folder: Path) -> AsyncIterator[Place]:
    """A site with doors, a base image and a built project; until the block ends."""
    doors: dict[str, Door] = {}
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)

        stranger = await stack.enter_async_context(raw_server(answer(200, {})))

        async def front(name: str, port: int) -> int:
            doors[name] = await tcp_door(tasks, port)
            doors[name].elsewhere = stranger.url
            stack.push_async_callback(doors[name].close)
            return doors[name].port

        size = LARGE if case.large else SMALL
        base = await stack.enter_async_context(memory_registry())
        with_base(base, _layer(size))
        await front("base", int(base.address.rpartition(":")[2]))
        site = await stack.enter_async_context(
            stand_in_site(
                folder / "site", contract=case.contract, login_seconds=LOGIN_SECONDS, front=front
            )
        )
        bench = Bench(folder / "bench", site)
        _furnish(bench, size)
        doors["engine"] = await unix_door(
            tasks, folder / "site/engine.sock", bench.folder / "front.sock"
        )
        doors["engine"].elsewhere = stranger.url
        stack.push_async_callback(doors["engine"].close)
        err = stack.enter_context((bench.folder / "err.0").open("w", buffering=1))
        neighbours = _Patient(seconds=CARGO_SECONDS if case.while_building else 0.0)
        yield Place(bench, doors, case, stranger, Out(err), neighbours)


def _layer(size: int) -> bytes:
    """The tar of a base image's one layer, which no codec makes smaller."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("random")
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(1).randbytes(size)))
    return out.getvalue()


def _furnish(bench: Bench, size: int) -> None:
    files = {
        ".systemprompt/Dockerfile": f"FROM base:1\nCOPY {_PROGRAM} /app/\n".encode(),
        _PROGRAM: random.Random(2).randbytes(size),
    }
    for name, content in files.items():
        path = bench.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (bench.folder / "tmp").mkdir()


async def tried(case: Case, folder: Path) -> list[str]:
    """The violations that a deploy under the fault, and what follows without it, have shown."""
    async with place(case, folder) as here:
        before = skipped()
        first = await here.deploy()
        found = [*_first(case, first, skipped() - before), *_deploys(here, first)]
        if not _has_struck(here):
            found.append("the fault has never struck")
        await here.heal()
        uploaded = await here.bench.site.uploaded()
        last = await _gone_on(here, first)
        if last.state is not State.DONE or last.failure:
            found.append(f"V1 without the fault: {_shown(last)}")
        sent = await here.bench.site.uploaded() - uploaded
        found += [*_deploys(here, last), *_redone(here, first, sent), *check(here.bench)]
        found += _unchecked(here)
        found += [f"a stranger was asked: {each.method} {each.path}" for each in _misled(here)]
        return found


async def _gone_on(here: Place, first: DeployResult) -> DeployResult:
    if first.failure is None:
        return first
    if first.refused:
        return await here.deploy()
    last = await here.resume()
    if here.case.by_hand and last.failure and last.failure.outcome_unknown:
        await here.settle(str(last.run_id))
        last = await here.resume()
    return last


def _has_struck(here: Place) -> bool:
    return here.struck and (not here.case.fault or here.doors[here.case.border].struck > 0)


def _first(case: Case, first: DeployResult, seconds: float) -> Iterator[str]:
    """V1, V11, V12."""
    if _ending(first) not in case.ends:
        yield f"V1 ended in {_shown(first)}, not in {' or '.join(case.ends)}"
    if first.failure is not None:
        if first.failure.kind is Kind.BUG or not first.failure.resolution:
            yield f"V1 {_shown(first)}"
        if CONTROLS.search("".join((first.failure.cause, *first.failure.details))):
            yield f"V10 control characters in {first.failure.cause!r}"
    longest = _longest(case, first)
    if seconds > longest:
        yield f"V11 {_shown(first)} took {seconds:.1f} s, at most {longest:.1f} s are due"
    if (first.exit_code == ExitCode.DONE) != (first.state is State.DONE):
        yield f"V12 exit code {first.exit_code} in {first.state}"


def _longest(case: Case, first: DeployResult) -> float:
    """What the catalogue allows: its tries and pauses, each try as long as the case says."""
    retry = first.failure.kind.retry if first.failure else BACKOFF
    tries = min(retry.tries, TRIES) if first.refused else retry.tries
    pauses = case.pauses
    if pauses is None:
        allowed = min(retry.budget, sum(retry.pause(each, 1.0) for each in range(1, tries)))
        pauses = PATIENCE_SECONDS if first.refused else allowed
    return tries * case.attempt + pauses + AT_ONCE


def _deploys(here: Place, result: DeployResult) -> Iterator[str]:
    """V2."""
    count = len(executed(here.bench))
    if count > 1 or (result.failure is None and count != 1):
        yield f"V2 {count} deploys were executed, {_shown(result)}"


def _redone(here: Place, first: DeployResult, sent: int) -> Iterator[str]:
    """V5."""
    compiled = here.neighbours.calls.count("compile")
    if compiled != 1:
        yield f"V5 compiled {compiled} times"
    if first.failure and first.failure.resume_at is State.DEPLOYING and sent > UPLOAD_MAX:
        yield f"V5 uploaded {sent} bytes after the push"


def _unchecked(here: Place) -> Iterator[str]:
    """V3: a login that has ended is renewed, and then the registry tells."""
    if here.case.expires_after and "unchecked" in (here.bench.folder / "err.0").read_text():
        yield "V3 the digest was not checked"


def _misled(here: Place) -> Iterator[Request]:
    """The requests that followed a redirect; base images may be kept elsewhere, logins not."""
    for request in here.stranger.requests:
        if here.case.border != "base" or "authorization" in request.headers:
            yield request


def _ending(result: DeployResult) -> str:
    return result.failure.id if result.failure else DONE


def _shown(result: DeployResult) -> str:
    failure = result.failure
    return f"{failure.id} in {failure.phase}: {failure.cause}" if failure else DONE
