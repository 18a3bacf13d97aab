"""The loop: do the work of a state, commit the move that its outcome calls for, until the end."""

import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from deployer import events
from deployer.errors import JournalError, SupersededError
from deployer.failures import Failure, Kind
from deployer.planning import resume_state
from deployer.ports import Clock, Journal
from deployer.run import Facts, Intent, Run, StateOutcome, Step
from deployer.states.authenticating import authenticating
from deployer.states.building import building
from deployer.states.deploying import deploying
from deployer.states.flow import FINAL, Event, Move, State, move
from deployer.states.grace import unwrapped
from deployer.states.imaging import imaging
from deployer.states.machine import Flow
from deployer.states.pushing import pushing
from deployer.states.world import World

STATES: Final[Mapping[State, Callable[[Run, World], Awaitable[StateOutcome]]]] = {
    State.BUILDING: building,
    State.IMAGING: imaging,
    State.AUTHENTICATING: authenticating,
    State.PUSHING: pushing,
    State.DEPLOYING: deploying,
}
# A straight run takes five moves. One that keeps losing what it made must end, and say so.
MOVES_MAX: Final = 30
STALLED_MAX: Final = 10
RETRY_AFTER_MAX: Final = 120.0  # seconds; a longer wait is for the user to decide

Tell = Callable[[Run, events.Body], None]


@dataclass(slots=True)
class Driver:
    """Carries one run. Its journal row and `self.run` are the same after each await."""

    run: Run
    journal: Journal
    clock: Clock
    tell: Tell
    # Failures hold foreign words; each passes here on its way to journal and screen.
    scrub: Callable[[Failure], Failure]

    async def carry(self, world: World) -> Run:
        """Drive the run to Done or Failed.

        Cancelled, it stays in its state with a note, as it would after kill -9: a resume has one
        path. Raises JournalError and SupersededError; then nothing was done without a record.
        """
        with unwrapped():
            async with anyio.create_task_group() as group:
                group.start_soon(world.ahead.work)
                await self._drive(world)
        return self.run

    async def _drive(self, world: World) -> None:
        flow = Flow(self.run.state, self._commit)
        began = self.clock.monotonic()
        try:
            if flow.state is State.FAILED:
                await self._resume(flow)
            for _ in range(MOVES_MAX):
                if flow.state in FINAL:
                    return
                began = self.clock.monotonic()
                outcome = self._unsettled(self._looping() or await self._work(world))
                # The work is done; cancelled before its record, it would be done again.
                with anyio.CancelScope(shield=True):
                    await self._take(flow, outcome, began)
            await self._take(flow, self._loop_failure(f"{MOVES_MAX} moves"), began)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._interrupted(began)
            raise
        finally:
            world.ahead.stop()

    async def _resume(self, flow: Flow) -> None:
        row = move(Event.RESUMED, State.FAILED, resume_state(self.run))
        await flow.take(row, Step(Event.RESUMED, self.run.facts), 0.0)

    async def _work(self, world: World) -> StateOutcome:
        self.run = await self.journal.enter(self.run)
        self.tell(self.run, events.StateEntered(state=self.run.state))
        return await self._attempts(world)

    async def _attempts(self, world: World) -> StateOutcome:
        """The state's outcome, after as many tries as the failure's row in the catalogue allows."""
        pauses = _Pauses(self)
        tries = AsyncRetrying(
            sleep=self.clock.sleep,
            retry=retry_if_result(lambda outcome: isinstance(outcome, Failure)),
            wait=pauses.next,
            stop=pauses.spent,
            before_sleep=pauses.tell,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        outcome: StateOutcome = await tries(self._once, world)
        return outcome

    async def _once(self, world: World) -> StateOutcome:
        try:
            outcome = await STATES[self.run.state](self.run, world)
        except (JournalError, SupersededError):
            raise
        except Exception as error:  # noqa: BLE001  # a bug of ours ends in Failed, in one place
            outcome = self._bug(error)
        return self.scrub(outcome) if isinstance(outcome, Failure) else outcome

    def _bug(self, error: Exception) -> Failure:
        # Lines and names only: locals may hold secrets.
        lines = traceback.format_tb(error.__traceback__)
        return Failure(
            phase=self.run.state,
            kind=Kind.BUG,
            cause=f"{type(error).__name__}: {error}",
            details=tuple(line for text in lines for line in text.splitlines())[-40:],
        )

    async def _take(self, flow: Flow, outcome: StateOutcome, began: float) -> None:
        event = Event.FAILED if isinstance(outcome, Failure) else outcome.event
        seconds = round(self.clock.monotonic() - began, 3)
        await flow.take(move(event, flow.state), outcome, seconds)

    async def _commit(self, row: Move, outcome: StateOutcome, seconds: float) -> None:
        self.run = await self.journal.commit(self.run, row, outcome, seconds)
        told = _told(row, outcome, seconds)
        if told is not None:
            self.tell(self.run, told)
        if row.dest is State.DONE:
            self.tell(self.run, events.RunFinished(state=row.dest, facts=self.run.facts))

    async def _interrupted(self, began: float) -> None:
        if self.run.state in FINAL:
            return
        seconds = round(self.clock.monotonic() - began, 3)
        self.run = await self.journal.interrupted(self.run, seconds)
        self.tell(self.run, events.RunInterrupted(state=self.run.state))

    def _unsettled(self, outcome: StateOutcome) -> StateOutcome:
        """A failure beside an unanswered POST: what matters then is the POST."""
        if not isinstance(outcome, Failure) or self.run.intent is None:
            return outcome
        if outcome.outcome_unknown or outcome.kind is Kind.SUPERSEDED:
            return outcome
        cause = (
            f"POST deploy of {self.run.intent.image} has no known outcome, and it cannot be "
            f"looked for: {outcome.id} {outcome.cause}"
        )
        return replace(outcome, phase=State.DEPLOYING, kind=Kind.OUTCOME_UNKNOWN, cause=cause)

    def _looping(self) -> Failure | None:
        if self.run.stalled <= STALLED_MAX:
            return None
        return self._loop_failure(f"{self.run.stalled} resumes")

    def _loop_failure(self, what: str) -> Failure:
        cause = f"{what} without getting further than {self.run.state.title}"
        return Failure(phase=self.run.state, kind=Kind.LOOPING, cause=cause)

    # The two ways in which Deploying writes while it works.

    async def intend(self, intent: Intent) -> None:
        """Make an intent durable."""
        self.run = await self.journal.intend(self.run, intent)
        told = events.IntentRecorded(
            state=self.run.state, attempt=intent.attempt, image=intent.image
        )
        self.tell(self.run, told)

    async def answered(self, facts: Facts) -> None:
        """Make a definite answer durable."""
        self.run = await self.journal.answered(self.run, facts)


def _told(row: Move, outcome: StateOutcome, seconds: float) -> events.Durable | None:
    """The event that tells of a move; RunResumed has told of that one."""
    if isinstance(outcome, Failure):
        return events.RunFailed(state=row.source, failure=outcome)
    if row.event is Event.RESUMED:
        return None
    if outcome.reason:
        return events.StateRewound(state=row.source, to=row.dest, reason=outcome.reason)
    return events.StateFinished(state=row.source, seconds=seconds, facts=outcome.facts)


class _Pauses:
    """Carries out the catalogue's Retry column; each pause is told before it is made."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._paused = 0.0

    def next(self, state: RetryCallState) -> float:
        """The pause before the next try, in seconds: what the other side asked for, or jitter."""
        failure = _failure(state)
        if failure.retry_after is not None:
            return failure.retry_after
        retry = failure.kind.retry
        pause = retry.pause(state.attempt_number, random.random())  # noqa: S311  # no secret
        return min(pause, retry.budget - self._paused)

    def spent(self, state: RetryCallState) -> bool:
        """Whether this failure is final."""
        failure = _failure(state)
        retry = failure.kind.retry
        return (
            state.attempt_number >= retry.tries
            or self._paused >= retry.budget
            or (failure.retry_after or 0.0) > RETRY_AFTER_MAX
        )

    def tell(self, state: RetryCallState) -> None:
        """Say why, and how long."""
        failure = _failure(state)
        self._paused += state.upcoming_sleep
        told = events.Retrying(
            cause=f"{failure.id} {failure.cause}",
            attempt=state.attempt_number + 1,
            tries=failure.kind.retry.tries,
            seconds=state.upcoming_sleep,
        )
        self._driver.tell(self._driver.run, told)


def _failure(state: RetryCallState) -> Failure:
    outcome = state.outcome.result() if state.outcome else None
    if not isinstance(outcome, Failure):
        raise TypeError("only failures are retried")
    return outcome


def scrubbed(failure: Failure, line: Callable[[str], str]) -> Failure:
    """`failure` with each foreign text passed through `line`."""
    return replace(
        failure, cause=line(failure.cause), details=tuple(line(text) for text in failure.details)
    )
