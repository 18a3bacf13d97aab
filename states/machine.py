"""The state machine: `transitions` guards the table, and the journal's commit is the move."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from transitions import EventData
from transitions.extensions.asyncio import AsyncMachine

from deployer.run import StateOutcome
from deployer.states.flow import MOVES, Move, State


class Commit(Protocol):
    """Makes a move durable; raising keeps the run where it was."""

    async def __call__(self, row: Move, outcome: StateOutcome, seconds: float, /) -> None:
        """Write the move and what it leaves to the journal."""


class PlainAsyncMachine(AsyncMachine):
    """AsyncMachine without its task juggling.

    The stock machine of transitions 0.9.3 runs each callback in a task of its own (a shield inside
    does not hold), returns False instead of raising when it is cancelled (issues 704 and 713), and
    cancels a task that is still in another trigger of the same model (issues 462 and 465).
    tests/unit/test_machine.py holds one test for each of these.
    """

    @staticmethod
    async def await_all(callables: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """Await the callbacks one after another, in this task."""
        return [await callback() for callback in callables]

    async def process_context(self, func: Any, model: Any) -> Any:
        """Run the trigger without catching its cancellation."""
        return await self._process_async(func, model)

    async def cancel_running_transitions(self, model: Any, msg: str | None = None) -> None:
        """Leave the tasks of other triggers alone."""


class _Position:
    """What the machine moves. It hangs a method on it for each trigger, so it is nobody else's."""

    state: State


class Flow:
    """Where one run stands. `take` is the only way to move it."""

    def __init__(self, at: State, commit: Commit) -> None:
        """Start at `at` (a stored state when a run is resumed)."""
        self._commit = commit
        self._position = _Position()
        # One machine a run: nothing is shared.
        self._machine = PlainAsyncMachine(
            model=self._position,
            states=State,
            initial=State(at),
            transitions=[
                {"trigger": row.trigger, "source": row.source, "dest": row.dest} for row in MOVES
            ],
            before_state_change=self._make_durable,
            auto_transitions=False,
            send_event=True,
        )

    @property
    def state(self) -> State:
        """Where the run stands."""
        return self._position.state

    async def take(self, row: Move, outcome: StateOutcome, seconds: float) -> None:
        """Commit the move and be there. If the commit raises, the run has not moved.

        `seconds` is how long the work took. Raises `transitions.MachineError` for a move that the
        table does not have in this state.
        """
        trigger = self._machine.events[row.trigger].trigger
        moved = await trigger(self._position, row=row, outcome=outcome, seconds=seconds)
        if moved is not True or self.state is not row.dest:
            raise RuntimeError(f"{row.event} was refused in {self.state}")

    async def _make_durable(self, data: EventData) -> None:
        row: Move = data.kwargs["row"]
        taken = data.transition
        # The machine's row and the journal's must be the same one, or the two drift apart.
        if taken is None or (taken.source, taken.dest) != (row.source.name, row.dest.name):
            raise RuntimeError(f"{row} is not what the machine is taking")
        await self._commit(row, data.kwargs["outcome"], data.kwargs["seconds"])
