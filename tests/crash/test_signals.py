"""Signals in each state: a quick end, nothing left alive, and a record that says the same."""

import random
import signal
from pathlib import Path
from typing import Final

import anyio
import pytest

from deployer.failures import ExitCode
from deployer.run import Outcome
from deployer.states.flow import State
from tests.crash.bench import Bench, Child, Ended, processes_in, until
from tests.crash.check import check, executed
from tests.crash.places import HANG, PLACES, hanging

pytestmark = [pytest.mark.anyio, pytest.mark.real]
END_SECONDS: Final = 3.0
INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


async def ended_in_time(child: Child) -> Ended:
    began = anyio.current_time()
    ended = await child.within(HANG)
    assert ended is not None
    assert anyio.current_time() - began < END_SECONDS
    return ended


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(INT, id="INT"),
        pytest.param(TERM, id="TERM", marks=pytest.mark.long),
        pytest.param(HUP, id="HUP", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("state", PLACES)
async def test_a_signal_ends_a_run_quickly_and_says_how_it_stands(
    bench: Bench, state: State, number: signal.Signals
) -> None:
    child = await hanging(bench, PLACES[state])

    child.process.send_signal(number)
    ended = await ended_in_time(child)

    assert list(processes_in(bench.folder)) == []
    record = bench.records()[0]
    assert (record.run.state, record.outcome) == (state, PLACES[state].outcome)
    unknown = record.outcome is Outcome.UNKNOWN
    assert ended.code == (ExitCode.UNKNOWN if unknown else 128 + number)
    assert f"stopped in {state.title}" in ended.err
    assert ended.last_line.endswith(f"next: deployer resume {record.run.id}")
    assert check(bench) == []

    bench.site.pauses.clear()
    resumed = await bench.run("resume")

    assert check(bench, resumed) == []
    assert len(executed(bench)) == 1


@pytest.mark.long
@pytest.mark.parametrize("state", PLACES)
async def test_the_second_signal_ends_at_once_and_loses_nothing(bench: Bench, state: State) -> None:
    child = await hanging(bench, PLACES[state])

    child.process.send_signal(INT)
    await anyio.sleep(0.05)
    began = anyio.current_time()
    ended = await child.kill(INT)

    assert anyio.current_time() - began < 0.5
    # Within those 50 ms the first one may have been enough.
    assert ended.code in (128 + INT, ExitCode.UNKNOWN)
    assert await bench.leftovers() == []
    assert bench.records()[0].run.state is state
    assert check(bench) == []

    bench.site.pauses.clear()
    resumed = await bench.run("resume")

    assert check(bench, resumed) == []
    assert len(executed(bench)) == 1


async def test_a_build_that_ignores_every_signal_ends_in_time(bench: Bench) -> None:
    bench.install_cargo(
        '[ "$1" = --version ] && { echo cargo 1.95.0; exit; }\ntrap "" TERM INT HUP; sleep 60 & wait'
    )
    child = await bench.start("deploy")
    assert await until(lambda: "building       begins" in child.err.read_text(), 20)
    await anyio.sleep(0.3)

    child.process.send_signal(TERM)
    ended = await ended_in_time(child)

    assert ended.code == 128 + TERM
    assert await bench.leftovers() == []


async def test_a_signal_before_a_run_leaves_no_run(bench: Bench) -> None:
    bench.site.pauses["registry-token"] = HANG
    child = await bench.start("deploy")
    with anyio.fail_after(20):
        await bench.site.until_asked("registry-token")

    child.process.send_signal(INT)
    ended = await ended_in_time(child)

    assert ended.code == 128 + INT
    assert ended.last_line == "stopped before a run was started; nothing happened"
    assert bench.records() == ()


async def test_a_signal_while_the_new_image_is_awaited_keeps_its_answer(bench: Bench) -> None:
    bench.site.faults.switch_on("status-pending-forever")
    child = await bench.start("deploy")
    assert await until(lambda: bool(executed(bench)), 20)
    await anyio.sleep(0.5)

    child.process.send_signal(TERM)
    ended = await ended_in_time(child)

    assert ended.code == 128 + TERM
    assert bench.records()[0].outcome is Outcome.INTERRUPTED
    bench.site.faults.switch_off()
    resumed = await bench.run("resume")
    assert check(bench, resumed) == []
    assert len(executed(bench)) == 1


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> number - 1 & 1)


@pytest.mark.long
async def test_signals_at_any_instant_of_the_imports_end_without_a_traceback(bench: Bench) -> None:
    chance = random.Random(7)
    bench.environment["CARGO_CRASH_SECONDS"] = "5"  # no run is over before its signal
    for number in (INT, TERM, HUP) * 6:
        child = await bench.start("deploy")
        # Before the first line of ours the signals are Python's own affair.
        assert await until(lambda: catches(child.process.pid, TERM), 20, pause=0.001)  # noqa: B023
        await anyio.sleep(chance.uniform(0, 0.6))
        child.process.send_signal(number)
        ended = await ended_in_time(child)

        assert ended.code == 128 + number, (ended.code, ended.err)
        assert "Traceback" not in ended.err
    assert check(bench) == []
    assert await bench.leftovers() == []


async def test_what_a_ci_system_sends_ends_in_a_clean_record(bench: Bench) -> None:
    child = await hanging(bench, PLACES[State.PUSHING])

    ended: Ended | None = None
    for number, seconds in ((INT, 7.5), (TERM, 2.5), (signal.SIGKILL, 1.0)):
        child.process.send_signal(number)
        if ended := await child.within(seconds):
            break

    assert ended is not None
    assert ended.code == 128 + INT
    record = bench.records()[0]
    assert record.outcome is Outcome.INTERRUPTED
    assert record.phases[3].seconds > 0
    assert check(bench) == []
