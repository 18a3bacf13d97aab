import anyio
import pytest

from deployer.sandbox.faults import FAULTS, Faults, UnknownFaultError, parse_fault

pytestmark = pytest.mark.anyio


async def test_a_counted_fault_strikes_so_often_and_then_no_more() -> None:
    faults = Faults({"push-401": 2})

    assert [faults.strikes("push-401") for _ in range(3)] == [True, True, False]


async def test_a_fault_without_a_count_strikes_until_it_is_switched_off() -> None:
    faults = Faults({"push-401": None})

    assert all(faults.strikes("push-401") for _ in range(50))
    faults.switch_off("push-401")
    assert not faults.strikes("push-401")


async def test_looking_at_a_fault_does_not_use_it_up() -> None:
    faults = Faults({"registry-down": 1})

    assert faults.is_on("registry-down")
    assert faults.strikes("registry-down")


async def test_switching_all_off_leaves_none() -> None:
    faults = Faults(dict.fromkeys(FAULTS))

    faults.switch_off()

    assert faults.on() == {}


async def test_a_waiter_hears_of_each_change() -> None:
    faults = Faults({})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(faults.changed)
        await anyio.wait_all_tasks_blocked()
        faults.switch_on("registry-down")

    assert faults.on() == {"registry-down": None}


async def test_an_unknown_fault_is_refused_by_name() -> None:
    with pytest.raises(UnknownFaultError, match="push-402"):
        Faults({"push-402": None})


@pytest.mark.parametrize(
    ("text", "parsed"), [("push-401", ("push-401", None)), ("push-503:3", ("push-503", 3))]
)
async def test_a_fault_is_written_with_or_without_a_count(
    text: str, parsed: tuple[str, int | None]
) -> None:
    assert parse_fault(text) == parsed


@pytest.mark.parametrize("text", ["push-401:", "push-401:0", "push-401:-1", "push-401:many"])
async def test_a_count_that_is_no_positive_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="count"):
        parse_fault(text)
