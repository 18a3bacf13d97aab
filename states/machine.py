"""The state machine: `transitions` guards the table, and the journal's commit is the move."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from transitions import EventData
from transitions.extensions.asyncio import AsyncMachine

from deployer.states.flow import MOVES, Move, State


class Commit(Protocol):
    """Makes a move durable; raising keeps the run where it was."""

    async def __call__(self, move: Move) -> None:
        """Write the move to the journal."""


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


class Flow:
    """Where one run stands. `take` is the only way to move it."""

    state: State

    def __init__(self, at: State, commit: Commit) -> None:
        """Start at `at` (a stored state when a run is resumed)."""
        self._commit = commit
        # model_override: with nothing declared, the machine adds no methods to this object, so a
        # trigger cannot be called past `take`. One machine a run: nothing is shared.
        self._machine = PlainAsyncMachine(
            model=self,
            states=State,
            initial=State(at),
            transitions=[
                {"trigger": row.trigger, "source": row.source, "dest": row.dest} for row in MOVES
            ],
            before_state_change=self._make_durable,
            auto_transitions=False,
            send_event=True,
            model_override=True,
        )

    async def take(self, move: Move) -> None:
        """Commit `move` and be there. If the commit raises, the run has not moved.

        Raises `transitions.MachineError` for a move that the table does not have.
        """
        moved = await self._machine.events[move.trigger].trigger(self, move=move)
        if moved is not True or self.state is not move.dest:
            raise RuntimeError(f"{move.event} was refused in {self.state}")

    async def _make_durable(self, data: EventData) -> None:
        move: Move = data.kwargs["move"]
        row = data.transition
        # The machine's row and the journal's must be the same one, or the two drift apart.
        if row is None or (row.source, row.dest) != (move.source.name, move.dest.name):
            raise RuntimeError(f"{move} is not the row that the machine is taking")
        await self._commit(move)
