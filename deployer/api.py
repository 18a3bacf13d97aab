"""The embedding interface: deploy, resume, roll back; many tenants in one event loop."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import anyio

from deployer import driver, events, planning
from deployer.doctor.finding import failed
from deployer.driver import Driver
from deployer.failures import Failure
from deployer.handle import DeployHandle, in_background
from deployer.model import Login, Revision, products
from deployer.names import ImageRef, RunId
from deployer.ports import Adapters, Ahead, Emit, Engine, Idle, Log
from deployer.preflight import Preflight, doctor, dry_run, preflight, scrubbed
from deployer.result import DeployResult, result_of
from deployer.run import Builder, DeployRequest, OnLock, Plan, Run, RunRecord, Settlement
from deployer.states.authenticating import target_of
from deployer.states.flow import State
from deployer.states.grace import unwrapped
from deployer.states.imaging import image_order, local_tag
from deployer.states.world import World
from deployer.telling import OnEvent, Teller, cleaned, logging_to

if TYPE_CHECKING:
    from deployer.settings.values import Settings

T = TypeVar("T")
HISTORY_MAX: Final = 1000  # runs that are searched for a rollback
TIDY_SECONDS: Final = 5.0


class Deployer:
    """Deploys tenants of one Management API. An async context manager; keeps no global state.

    It reads no environment, installs no signal handler, configures no logging and prints nothing.
    Expected failures come back in the result. Raised are BusyError, JournalError, SupersededError,
    and cancellation, after which the run stands in the journal and can be resumed.
    """

    def __init__(self, adapters: Adapters, *, logger: Log | None = None) -> None:
        """Work with these adapters; events also go to `logger`, if there is one."""
        self._adapters = adapters
        self._logger = logger

    @classmethod
    def from_settings(cls, settings: "Settings", *, logger: Log | None = None) -> Self:
        """A deployer with the real adapters. Raises DeployError for a bad API URL."""
        from deployer.wiring import wired  # noqa: PLC0415  # brings httpx: 0.2 s

        return cls(wired(settings), logger=logger)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._adapters.aclose()

    async def preflight(self, request: DeployRequest) -> Preflight:
        """Everything that can be known before a deploy, without an effect."""
        known = await self._known(request)
        if isinstance(known, Failure):
            plan = await self._planned(request)
            report = Preflight(
                request=request, revision=plan.revision, checks=(failed("image", known),)
            )
        else:
            report = await dry_run(await self._planned(known), self._adapters)
        return scrubbed(report, self._scrub, self._adapters.scrub)

    async def doctor(self, request: DeployRequest, *, api: bool = True) -> Preflight:
        """All that can be looked at, without an effect; `api` False: without the Management API."""
        report = await doctor(await self._planned(request), self._adapters, api=api)
        return scrubbed(report, self._scrub, self._adapters.scrub)

    async def deploy(
        self,
        request: DeployRequest,
        *,
        on_lock: OnLock = OnLock.FAIL,
        on_event: OnEvent | None = None,
        acknowledge: bool = True,
    ) -> DeployResult:
        """Carry out one deploy, from the preflight to the proof.

        With `acknowledge` False the caller says when the result was heard, by `acknowledge()`.
        """

        async def work() -> DeployResult:
            return await self._heard(await self._deploy(request, on_event), acknowledge)

        return await self._alone(request.tenant, on_lock, on_event, work)

    async def resume(
        self,
        tenant: str,
        run_id: str | None = None,
        *,
        on_lock: OnLock = OnLock.FAIL,
        on_event: OnEvent | None = None,
        acknowledge: bool = True,
    ) -> DeployResult:
        """Go on with a stored run (by default the tenant's newest) where it stands."""

        async def work() -> DeployResult:
            latest = await self._adapters.journal.latest(tenant)
            run = latest if run_id is None else await self._run_of(tenant, run_id)
            refusal = planning.not_resumable(run, latest)
            if refusal is not None or run is None:
                return self._refused(tenant, refusal)
            if run.state is State.DONE:
                result = await self._result(run, found_finished=True)
            else:
                result = await self._resume(run, on_event)
            return await self._heard(result, acknowledge)

        return await self._alone(tenant, on_lock, on_event, work)

    async def rollback(
        self,
        request: DeployRequest,
        *,
        to: str | None = None,
        on_lock: OnLock = OnLock.FAIL,
        on_event: OnEvent | None = None,
        acknowledge: bool = True,
    ) -> DeployResult:
        """Deploy the image of an earlier succeeded run again, by its digest; nothing is built.

        `to` is a run id or a tag; without it, the last image before the current one.
        """

        async def work() -> DeployResult:
            # Behind the lock: whoever was waited for may have deployed.
            records = await self._adapters.journal.history(request.tenant, HISTORY_MAX)
            record = planning.rollback_target(records, to)
            if isinstance(record, Failure):
                return self._refused(request.tenant, record)
            message = request.message or f"rollback to run {record.run.id}"
            again = replace(_again(request, record), message=message)
            return await self._heard(await self._deploy(again, on_event), acknowledge)

        return await self._alone(request.tenant, on_lock, on_event, work)

    async def settle(self, tenant: str, run_id: str, settlement: Settlement) -> Run | Failure:
        """Record what became of a POST that got no answer, by the caller's own knowledge.

        `resume` goes on from there: it proves a deploy that was done, and sends one that was not.
        """

        async def work() -> Run | Failure:
            run = planning.settleable(await self._run_of(tenant, run_id))
            if isinstance(run, Failure):
                return run
            facts = planning.settled_facts(run, settlement)
            return await self._adapters.journal.settled(run, facts, settlement)

        return await self._alone(tenant, OnLock.FAIL, None, work)

    async def acknowledge(self, run_id: RunId) -> None:
        """The result of this run was heard: an equal deploy is a new one from now on."""
        await self._adapters.journal.acknowledge(run_id)

    async def history(self, tenant: str | None = None, limit: int = 20) -> tuple[RunRecord, ...]:
        """The newest runs first."""
        return await self._adapters.journal.history(tenant, limit)

    def start(self, request: DeployRequest) -> AbstractAsyncContextManager[DeployHandle]:
        """Deploy in the background: the handle has the events, the result, and `cancel()`.

        Leaving the block waits for the run; an exception in the block cancels it.
        """
        return in_background(lambda tell: self.deploy(request, on_event=tell))

    def start_resume(
        self, tenant: str, run_id: str | None = None
    ) -> AbstractAsyncContextManager[DeployHandle]:
        """Resume in the background; the same as `start` in all else."""
        return in_background(lambda tell: self.resume(tenant, run_id, on_event=tell))

    # -- One deploy, step by step.

    async def _deploy(self, request: DeployRequest, on_event: OnEvent | None) -> DeployResult:
        known = await self._known(request)
        if isinstance(known, Failure):
            return self._refused(request.tenant, known)
        taken = await self._adapters.journal.tags(known.tenant)
        plan = await self._planned(known, taken)
        finished = await self._finished_or_unsettled(plan)
        if finished is not None:
            return finished
        report = await self._preflight(plan)
        if report.failure is not None:
            return self._refused(request.tenant, report.failure)
        builder = report.choice.builder if report.choice else plan.builder
        plan = replace(plan, crates=report.crates, builder=builder)
        return await self._begin(plan, report, on_event)

    async def _known(self, request: DeployRequest) -> DeployRequest | Failure:
        """`--skip-push` alone means the last deployed tag; a just invented one was never pushed."""
        if not request.skip_push or request.tag is not None:
            return request
        records = await self._adapters.journal.history(request.tenant, HISTORY_MAX)
        record = planning.last_deployed(records)
        return record if isinstance(record, Failure) else _again(request, record)

    async def _planned(self, request: DeployRequest, taken: frozenset[str] = frozenset()) -> Plan:
        revision = await self._revision(request.project_root)
        return planning.planned(request, revision, self._adapters.clock.wall(), taken)

    async def _revision(self, project_root: Path) -> Revision:
        """What the project stands at; beside git's processes is time to load what comes next."""
        with unwrapped():
            async with anyio.create_task_group() as group:
                group.start_soon(self._adapters.prepare)
                revision = await self._adapters.source.revision(project_root)
        return revision

    async def _finished_or_unsettled(self, plan: Plan) -> DeployResult | None:
        """A deploy that may not start: an equal one is done, or another one's outcome is open."""
        latest = await self._adapters.journal.latest(plan.request.tenant)
        if latest is None or plan.request.new:
            return None
        if planning.unheard(latest, plan, self._adapters.clock.wall()):
            return await self._result(latest, found_finished=True)
        unknown = planning.unsettled(latest)
        return None if unknown is None else replace(result_of(latest), failure=unknown)

    async def _preflight(self, plan: Plan) -> Preflight:
        report = await preflight(plan, self._adapters)
        return scrubbed(report, self._scrub, self._adapters.scrub)

    async def _begin(self, plan: Plan, report: Preflight, on_event: OnEvent | None) -> DeployResult:
        state = State.DEPLOYING if plan.request.skip_push else State.BUILDING
        run = Run(id=planning.new_run_id(self._adapters.clock.wall()), plan=plan, state=state)
        left = await self._adapters.journal.open_of(plan.request.tenant)
        run = await self._adapters.journal.open_run(run)
        tell = self._teller(on_event)
        tell(run, events.RunOpened(state=state, tag=plan.tag))
        if left is not None:
            tell(
                run,
                events.Warned(text=f"run {left.id} stood in {left.state}; this one replaces it"),
            )
        if report.choice is not None:
            why = self._adapters.scrub(report.choice.why)
            tell(run, events.BuilderChosen(builder=report.choice.builder, why=why))
        for warning in report.warnings:
            tell(run, events.Warned(text=warning))
        return await self._carry(run, tell, report.login)

    async def _resume(self, run: Run, on_event: OnEvent | None) -> DeployResult:
        revision = await self._revision(run.plan.request.project_root)
        taken = await self._adapters.journal.take_over(run)
        tell = self._teller(on_event)
        tell(taken, events.RunResumed(state=planning.resume_state(taken), resumes=taken.resumes))
        if revision.fingerprint != run.plan.revision.fingerprint:
            text = f"the project changed since run {run.id} began; its tag stays {run.plan.tag}"
            tell(taken, events.Warned(text=text))
        return await self._carry(taken, tell)

    async def _carry(self, run: Run, tell: driver.Tell, login: Login | None = None) -> DeployResult:
        carrier = Driver(run, self._adapters.journal, self._adapters.clock, tell, self._scrub)
        ended = await carrier.carry(self._world(carrier, login))
        await self._tidy(ended)
        return await self._result(ended)

    def _world(self, carrier: Driver, login: Login | None) -> World:
        adapters, run = self._adapters, carrier.run

        def emit(body: events.Transient) -> None:
            carrier.tell(carrier.run, cleaned(body, adapters.scrub))

        return World(
            toolchain=adapters.toolchain,
            engine=self._engine(run),
            ahead=self._ahead(run, login, emit),
            api=adapters.api,
            registry=adapters.registry,
            health=adapters.health,
            clock=adapters.clock,
            emit=emit,
            learn=adapters.learn,
            intend=carrier.intend,
            answered=carrier.answered,
        )

    def _ahead(self, run: Run, login: Login | None, emit: Emit) -> Ahead:
        """Who works while cargo does; `login` is the preflight's, which a resume has not."""
        if planning.resume_state(run) is not State.BUILDING:
            return Idle()

        async def destination() -> tuple[ImageRef, Login] | None:
            found = login or await self._adapters.api.registry_login(run.plan.request.tenant)
            if isinstance(found, Failure):
                return None
            self._adapters.learn(found.password)
            target = target_of(run.plan, found)
            return None if isinstance(target, Failure) else (target, found)

        pending = products(run.plan.crates)
        return self._engine(run).ahead(image_order(run), pending, destination, emit)

    def _engine(self, run: Run) -> Engine:
        direct = run.plan.builder is Builder.DIRECT
        return self._adapters.direct if direct else self._adapters.engine

    async def _tidy(self, run: Run) -> None:
        """Of a finished run's image one name a tenant stays, for the engine's cache."""
        if run.state is not State.DONE or run.facts.image is None:
            return
        kept = f"deployer-last:{run.plan.request.tenant}"
        # The deploy is done; an engine that died since must not keep the result from the caller.
        with anyio.move_on_after(TIDY_SECONDS):
            await self._engine(run).retain(local_tag(run), kept)
            await self._engine(run).forget((local_tag(run), str(run.facts.target)))

    async def _result(self, run: Run, *, found_finished: bool = False) -> DeployResult:
        phases = await self._adapters.journal.phases(run.id)
        return result_of(run, phases, found_finished=found_finished)

    async def _heard(self, result: DeployResult, acknowledge: bool) -> DeployResult:
        if acknowledge and result.run_id is not None and result.state is State.DONE:
            await self.acknowledge(result.run_id)
        return result

    def _refused(self, tenant: str, failure: Failure | None) -> DeployResult:
        shown = self._scrub(failure) if failure else None
        return DeployResult(tenant=tenant, run_id=None, state=State.FAILED, failure=shown)

    async def _run_of(self, tenant: str, run_id: str) -> Run | None:
        """The tenant's own run: another's is behind another lock."""
        run = await self._adapters.journal.run(RunId(run_id))
        return run if run is not None and run.plan.request.tenant == tenant else None

    async def _alone(
        self,
        tenant: str,
        on_lock: OnLock,
        on_event: OnEvent | None,
        work: Callable[[], Awaitable[T]],
    ) -> T:
        """Do `work` as the only one that deploys this tenant.

        In a child task: a host's own `task.cancel()` becomes the group's cancellation, so shields
        hold, and a second cancel does not cut the clean-up (measured with a bare task); else the
        tenant would be free while a write still goes on.
        """
        tell = self._teller(on_event)
        scrub = self._adapters.scrub
        held = self._adapters.journal.hold(
            tenant,
            on_lock,
            lambda waiting: tell.before_a_run(tenant, replace(waiting, what=scrub(waiting.what))),
        )
        done: list[T] = []

        async def alone() -> None:
            async with held:
                done.append(await work())

        with unwrapped():
            async with anyio.create_task_group() as group:
                group.start_soon(alone)
        return done[0]

    def _teller(self, on_event: OnEvent | None) -> Teller:
        log = logging_to(self._logger) if self._logger else None
        subscribers = tuple(told for told in (log, on_event) if told)
        return Teller(self._adapters.clock, subscribers)

    def _scrub(self, failure: Failure) -> Failure:
        return driver.scrubbed(failure, self._adapters.scrub)


def _again(request: DeployRequest, record: RunRecord) -> DeployRequest:
    """`request`, for the image that an earlier run deployed."""
    facts = record.run.facts
    tag = facts.target.tag if facts.target else record.run.plan.tag
    return replace(request, skip_push=True, tag=tag, digest=facts.digest)
