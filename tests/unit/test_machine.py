"""The machine: what transitions does to cancellation, and what ours does instead."""

import anyio
import pytest
from transitions import MachineError
from transitions.extensions.asyncio import AsyncMachine

from deployer.run import Facts, StateOutcome, Step
from deployer.states.flow import FINAL, MOVES, WORKING, Event, Move, State, move
from deployer.states.machine import Flow, PlainAsyncMachine

pytestmark = pytest.mark.anyio
BUILT = move(Event.BUILT, State.BUILDING)
STEP = Step(Event.BUILT, Facts())


async def committed(row: Move, outcome: StateOutcome, seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


class Model:
    state = "a"


async def test_a_move_that_transitions_reports_as_not_taken_is_an_error() -> None:
    flow = Flow(State.BUILDING, committed)

    async def halted(*_: object, **__: object) -> bool:
        return False

    flow._machine.events[BUILT.trigger].trigger = halted  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="was refused in building"):
        await flow.take(BUILT, STEP, 0.0)


async def cancelled_trigger(machine_class: type[AsyncMachine]) -> tuple[bool, list[str]]:
    """Whether a cancelled trigger let its scope know, and what ran all the same."""
    ran: list[str] = []

    async def wait() -> None:
        await anyio.sleep(30)

    model = Model()
    machine = machine_class(model=model, states=["a", "b"], initial="a", auto_transitions=False)
    machine.add_transition("go", "a", "b", before=wait)
    with anyio.move_on_after(0.01) as scope:
        await machine.events["go"].trigger(model)
        ran.append("went on after the cancellation")
    return scope.cancelled_caught, ran


async def test_the_stock_machine_swallows_cancellation() -> None:
    # If this fails, transitions has mended issue 704, and PlainAsyncMachine may go.
    assert await cancelled_trigger(AsyncMachine) == (False, ["went on after the cancellation"])


async def test_ours_lets_cancellation_through() -> None:
    assert await cancelled_trigger(PlainAsyncMachine) == (True, [])


async def shield_holds(machine_class: type[AsyncMachine]) -> bool:
    finished: list[bool] = []

    async def commit() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
            finished.append(True)

    model = Model()
    machine = machine_class(model=model, states=["a", "b"], initial="a", auto_transitions=False)
    machine.add_transition("go", "a", "b", before=commit)
    with anyio.move_on_after(0.01):
        await machine.events["go"].trigger(model)
    return finished == [True]


async def test_a_shield_inside_a_callback_holds_in_ours() -> None:
    assert await shield_holds(PlainAsyncMachine)


async def test_a_move_whose_commit_fails_does_not_happen() -> None:
    async def fail(row: Move, outcome: StateOutcome, seconds: float) -> None:
        raise OSError("disk full")

    flow = Flow(State.BUILDING, fail)

    with pytest.raises(OSError, match="disk full"):
        await flow.take(BUILT, STEP, 0.0)

    assert flow.state is State.BUILDING


async def test_a_second_trigger_leaves_the_first_task_alone() -> None:
    slow = anyio.Event()

    async def commit(row: Move, outcome: StateOutcome, seconds: float) -> None:
        if row.event is Event.BUILT:
            await slow.wait()

    flow = Flow(State.BUILDING, commit)
    async with anyio.create_task_group() as group:
        group.start_soon(flow.take, BUILT, STEP, 0.0)
        await anyio.wait_all_tasks_blocked()
        await flow.take(move(Event.FAILED, State.BUILDING), STEP, 0.0)
        assert flow.state is State.FAILED
        slow.set()


@pytest.mark.parametrize("state", State)
async def test_only_the_moves_of_the_table_are_taken(state: State) -> None:
    for row in MOVES:
        flow = Flow(state, committed)
        if row.source is state:
            await flow.take(row, STEP, 0.0)
            assert flow.state is row.dest
        else:
            with pytest.raises(MachineError):
                await flow.take(row, STEP, 0.0)
            assert flow.state is state


def test_done_is_the_end_and_failed_leads_back_to_each_state() -> None:
    assert [row for row in MOVES if row.source is State.DONE] == []
    assert {row.dest for row in MOVES if row.source is State.FAILED} == set(WORKING)


def test_each_working_state_has_one_way_forward_and_one_to_failed() -> None:
    for state in WORKING:
        events = [row.event for row in MOVES if row.source is state]
        assert events.count(Event.FAILED) == 1
        assert len([event for event in events if not event.endswith("_gone")]) == 2


def test_no_move_but_failed_skips_a_state_on_the_way_forward() -> None:
    order = [*WORKING, State.DONE]
    for row in MOVES:
        if row.source in WORKING and row.dest not in (State.FAILED,):
            assert order.index(row.dest) <= order.index(row.source) + 1


def test_an_unknown_move_is_a_bug_of_the_caller() -> None:
    with pytest.raises(LookupError):
        move(Event.BUILT, State.PUSHING)


async def test_a_stored_state_is_one_of_the_states_and_nothing_else() -> None:
    # transitions adds an eighth state for a value that it does not know.
    assert Flow(State("pushing"), committed).state is State.PUSHING
    with pytest.raises(ValueError, match="elsewhere"):
        Flow("elsewhere", committed)  # type: ignore[arg-type]


def test_final_states_are_where_no_work_is_done() -> None:
    assert set(FINAL) | set(WORKING) == set(State)
