"""What no second try can mend ends a run at once, in each state; mended, the run goes on."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import pytest

from deployer.failures import Kind
from deployer.states.flow import State
from tests.crash.bench import Bench, until
from tests.crash.check import check, ended_as, executed
from tests.crash.places import PLACES
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
FAILS_WITHIN: Final = 2.0  # seconds
DOCKERFILE: Final = ".systemprompt/Dockerfile"
ERROR: Final = (
    '{"reason":"compiler-message","package_id":"x","message":{"level":"error","message":"mismatched '
    'types","code":{"code":"E0308","explanation":null},"spans":[],"children":[],"rendered":""}}'
)
FAILS: Final = f"""\
[ "$1" = --version ] && {{ echo cargo 1.95.0; exit; }}
echo '{ERROR}'
echo '{{"reason":"build-finished","success":false}}'
exit 101"""


class Flaw(NamedTuple):
    """What is wrong, and how it comes about behind the preflight."""

    kind: Kind
    code: int
    spoil: Callable[[Bench], object]


def fault(name: str) -> Callable[[Bench], object]:
    return lambda bench: bench.site.faults.switch_on(name)


def spoil_dockerfile(bench: Bench) -> None:
    (bench.project / DOCKERFILE).write_text("FROM debian:bookworm-slim\nCOPPY a b\n")


FLAWS: Final = {
    State.BUILDING: Flaw(Kind.COMPILE_ERROR, 10, lambda bench: bench.install_cargo(FAILS)),
    State.IMAGING: Flaw(Kind.DOCKERFILE_SYNTAX, 11, spoil_dockerfile),
    State.AUTHENTICATING: Flaw(Kind.TENANT_FORBIDDEN, 12, fault("token-403")),
    State.PUSHING: Flaw(Kind.REGISTRY_AUTH, 13, fault("registry-wrong-password")),
    State.DEPLOYING: Flaw(Kind.IMAGE_NOT_FOUND, 14, fault("deploy-image-not-found")),
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with stand_in_site(tmp_path / "site") as site:
        made = Bench(tmp_path / "bench", site)
        await made.furnish()
        yield made
        made.end_all()


@pytest.mark.parametrize("state", FLAWS)
async def test_a_permanent_failure_ends_a_run_within_two_seconds(
    bench: Bench, state: State
) -> None:
    flaw = FLAWS[state]
    # cargo is started with the line that says so, and must not be written while a shell reads it.
    early = state is State.BUILDING
    if early:
        flaw.spoil(bench)
    child = await bench.start("deploy", environment={"CARGO_CRASH_SECONDS": "0.5"})
    assert await until(lambda: "building       begins" in child.err.read_text(), 20)
    if not early:
        flaw.spoil(bench)
    assert await until(lambda: PLACES[state].line in child.err.read_text(), 20)

    began = anyio.current_time()
    ended = await child.within(10)
    seconds = anyio.current_time() - began

    assert ended is not None
    assert ended_as(bench, ended, flaw.kind, flaw.code) == []
    assert seconds < FAILS_WITHIN  # V11
    assert await bench.leftovers() == []
    bench.site.faults.switch_off()
    bench.write_project()
    bench.install_stand_in()
    assert check(bench, await bench.run("resume")) == []
    assert len(executed(bench)) == 1
