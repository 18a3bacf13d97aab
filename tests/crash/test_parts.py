"""Another part dies under a run: the run ends as documented, and goes on when the part is back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import pytest

from deployer.failures import ExitCode, Kind
from tests.crash.bench import Bench, Child, until
from tests.crash.check import check, ended_as, executed
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
GIVES_UP: Final = 60.0  # seconds, within which each kind of failure has been tried again to its end


@dataclass(frozen=True)
class Death:
    """A part that dies in a certain moment, and what the run makes of it if it stays dead."""

    part: str
    moment: str  # as a site's script calls it
    kind: Kind
    code: int
    worked: bool = False  # it had done the work before it died
    words: tuple[str, ...] = ()  # of the command line

    @property
    def name(self) -> str:
        return f"{self.part}-{self.moment}{'-done' if self.worked else ''}"


DEATHS: Final = (
    Death("engine", "build", Kind.ENGINE_DOWN, 11),
    Death("engine", "building", Kind.ENGINE_DOWN, 11),
    Death("engine", "push", Kind.ENGINE_DOWN, 13),
    Death("engine", "pushing", Kind.ENGINE_DOWN, 13),
    Death("registry", "blob", Kind.REGISTRY_UNREACHABLE, 13),
    Death("registry", "manifest", Kind.REGISTRY_UNREACHABLE, 13),
    Death("registry", "manifest", Kind.REGISTRY_UNREACHABLE, 13, worked=True),
    Death("api", "registry-token", Kind.API_UNREACHABLE, 12),
    Death("api", "deploy", Kind.OUTCOME_UNKNOWN, ExitCode.UNKNOWN),
    Death("api", "deploy", Kind.OUTCOME_UNKNOWN, ExitCode.UNKNOWN, worked=True),
    Death("api", "status", Kind.UNHEALTHY, ExitCode.UNHEALTHY, words=("--wait-timeout", "2s")),
)


async def dying(bench: Bench, death: Death) -> Child:
    """A deploy under which the part dies."""
    (bench.project / "deployer.toml").write_text('version = 1\n[deploy]\nsettle = "2s"\n')
    script, part = bench.site.script, bench.site.parts[death.part]
    slowly = {"CARGO_CRASH_SECONDS": "0.5"}
    child = await bench.start("deploy", *death.words, environment=slowly)
    # Not before: the preflight asks the same questions.
    assert await until(lambda: "building       begins" in child.err.read_text(), 30)

    async def arm() -> None:
        (script.after if death.worked else script.before)[death.moment] = part.die

    if death.moment == "status":  # the one behind the POST
        script.after["deploy"] = arm
    else:
        await arm()
    return child


@pytest.mark.long
async def test_a_part_that_stays_dead_ends_the_run_as_documented_and_a_resume_is_all_it_takes(
    tmp_path: Path,
) -> None:
    wrong: dict[str, list[str]] = {}

    async def case(place: Path, death: Death) -> None:
        async with stand_in_site(place / "site") as site:
            bench = Bench(place / "bench", site)
            await bench.furnish()
            child = await dying(bench, death)
            ended = await child.within(GIVES_UP)
            assert ended is not None, child.err.read_text()
            found = ended_as(bench, ended, death.kind, death.code)
            await site.parts[death.part].rise()
            resumed = await bench.run("resume")
            found += check(bench, resumed)
            found += [f"executed: {len(executed(bench))}"] * (len(executed(bench)) != 1)
            wrong[death.name] = found + await bench.leftovers()

    # Side by side: most of a case is waiting for the next try.
    async with anyio.create_task_group() as cases:
        for number, death in enumerate(DEATHS):
            cases.start_soon(case, tmp_path / f"{number}", death)

    assert wrong == {death.name: [] for death in DEATHS}


async def test_a_part_that_is_back_at_once_is_no_failure(tmp_path: Path) -> None:
    death = DEATHS[7]  # tried again after a second; an engine after five
    async with stand_in_site(tmp_path / "site") as site:
        bench = Bench(tmp_path / "bench", site)
        await bench.furnish()
        child = await dying(bench, death)
        part = site.parts[death.part]
        assert await until(lambda: not part.lives, 20)
        await part.rise()
        ended = await child.within(GIVES_UP)

        assert ended is not None
        assert "try 2 of" in ended.err
        assert check(bench, ended) == []
        assert len(executed(bench)) == 1
