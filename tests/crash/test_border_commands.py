"""The same faults under the command line itself: exit code, last line and journal agree."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from deployer.failures import ExitCode
from tests.crash.bench import Bench
from tests.crash.border_cases import API_ERROR, ENGINE_ERROR, TELLS_NOTHING, status
from tests.crash.check import check, executed
from tests.crash.site import stand_in_site
from tests.servers.faulty import Cut, Door, Fault, Garble, Redirect, tcp_door
from tests.servers.raw_http import Reset

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@dataclass
class Place:
    """A bench, and the doors before its servers."""

    bench: Bench
    doors: dict[str, Door]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    doors: dict[str, Door] = {}
    async with anyio.create_task_group() as tasks:

        async def front(name: str, port: int) -> int:
            doors[name] = await tcp_door(tasks, port)
            return doors[name].port

        async with stand_in_site(tmp_path / "site", front=front) as site:
            bench = Bench(tmp_path / "bench", site)
            await bench.furnish()
            doors["engine"] = await tcp_door(tasks, tmp_path / "site/engine.sock")
            bench.environment["DOCKER_HOST"] = f"tcp://127.0.0.1:{doors['engine'].port}"
            yield Place(bench, doors)
        tasks.cancel_scope.cancel()


POST, BUILD, PUSH = r"POST \S*/deploy", r"POST \S*/build", r"POST \S*/push"
LOST = Garble(lambda _: [Reset()])
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("border", "route", "fault", "failure", "code"),
    [
        ("api", POST, status(401, API_ERROR), "D02", 14),
        pytest.param("api", POST, Redirect(307), "D12", 14, marks=LONG),
        pytest.param("engine", BUILD, status(500, ENGINE_ERROR), "I00", 11, marks=LONG),
        ("engine", PUSH, status(500, ENGINE_ERROR), "P00", 13),
        pytest.param("url", "GET ", Cut("down", 0), "D15", ExitCode.UNHEALTHY, marks=LONG),
        pytest.param("registry", "GET /v2/$", status(403, {}), "P02", 3, marks=LONG),
    ],
)
async def test_a_fault_has_its_exit_code_and_the_next_command_goes_on(
    place: Place, border: str, route: str, fault: Fault, failure: str, code: int
) -> None:
    bench = place.bench
    await place.doors[border].break_with(fault, route)

    ended = await bench.run("deploy", "--wait-timeout", "1")

    assert ended.code == code, ended.err
    assert failure in ended.err
    assert not ended.last_line.startswith("done")

    await place.doors[border].heal()
    last = await bench.run("resume" if bench.records() else "deploy")

    assert last.code == ExitCode.DONE, last.err
    assert len(executed(bench)) == 1
    assert check(bench, last) == []


@pytest.mark.long
@pytest.mark.parametrize(("fault", "done"), [(LOST, 1), (Cut("up", 0), 0)])
async def test_what_nobody_can_know_has_an_exit_code_of_its_own(
    place: Place, fault: Fault, done: int
) -> None:
    bench = place.bench
    for name in TELLS_NOTHING:
        bench.site.faults.switch_on(name)
    await place.doors["api"].break_with(fault, POST)

    ended = await bench.run("deploy")

    assert ended.code == ExitCode.UNKNOWN, ended.err
    assert len(executed(bench)) == done

    await place.doors["api"].heal()
    known = "deployed" if done else "not-deployed"
    await bench.run("settle", bench.records()[0].run.id, "--as", known)
    last = await bench.run("resume")

    assert last.code == ExitCode.DONE, last.err
    assert len(executed(bench)) == 1
    assert check(bench, last) == []
