"""The real engine and the real registry die under a run with a real cargo; nothing is stood in for."""

import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import pytest

from deployer.failures import Kind
from tests.crash.bench import Bench, Ended, until
from tests.crash.check import check, duplicates, ended_as, executed, missing
from tests.crash.daemons import Daemon, daemon
from tests.crash.real import new_version, real_bench
from tests.servers.hearing import Ear, hearing

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long]
WHOLE: Final = 90.0  # seconds of the longest retries
RUN: Final = b" : RUN"
KILL: Final = signal.SIGKILL


@dataclass
class Real:
    """A bench whose engine and registry can be killed when a word is heard at the engine's door."""

    bench: Bench
    ear: Ear
    daemons: dict[str, Daemon]
    versions: int = 0

    async def dies(
        self, name: str, word: bytes, number: signal.Signals = KILL, *, back: bool = True
    ) -> Ended:
        """How a deploy ends under which that happens."""
        self.versions += 1
        await new_version(self.bench, self.versions)
        heard = self.ear.listen(word)
        child = await self.bench.start("deploy")
        with anyio.fail_after(WHOLE):
            await heard.wait()
            if word == RUN:  # the judge has something to see
                assert await until(lambda: bool(list(self.bench.site.containers())), 5)
            await self.daemons[name].die(number)
            if back:
                await self.daemons[name].rise()
            return await child.ended()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short name, for the sockets of an engine."""
    made = Path(tempfile.mkdtemp(prefix="deployer-parts-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def real(folder: Path) -> AsyncIterator[Real]:
    async with real_bench(folder, lambda _line: None) as bench:
        endpoint, sandbox = bench.site.environment["DOCKER_HOST"], folder / "sandbox"
        if "engine.sock" not in endpoint:
            pytest.skip(f"the engine at {endpoint} is not ours to kill")
        dockerfile = bench.project / ".systemprompt/Dockerfile"
        dockerfile.write_text(f"{dockerfile.read_text()}RUN sleep 2\n")
        async with (
            daemon("dockerd", sandbox) as engine,
            daemon("docker-registry", sandbox) as registry,
            hearing(endpoint, folder / "e.sock") as ear,
        ):
            bench.environment["DOCKER_HOST"] = ear.endpoint
            yield Real(bench, ear, {"engine": engine, "registry": registry})
            bench.end_all()


async def test_engine_and_registry_die_in_each_moment_and_every_run_is_deployed_once(
    real: Real,
) -> None:
    bench = real.bench
    ended = await real.dies("engine", RUN, back=False)
    # Died, not down: the door before it still listens.
    assert ended_as(bench, ended, Kind.ENGINE_DIED, 11) == []
    await real.daemons["engine"].rise()
    assert await bench.leftovers() == []
    assert check(bench, await bench.run("resume")) == []

    for name, word, number in (
        ("engine", b"/build?", KILL),
        ("engine", b" : COPY", KILL),
        ("engine", RUN, signal.SIGTERM),
        ("engine", b'"Pushing"', KILL),
        ("engine", b'"Pushed"', KILL),
        ("registry", b'"Pushing"', KILL),
        ("registry", b'"Pushing"', signal.SIGTERM),
        ("registry", b'"Pushed"', KILL),
    ):
        ended = await real.dies(name, word, number)
        # What an engine says of a step while it stops is not always known ("error creating overlay
        # mount: invalid argument", measured): I00, which nothing tries again by itself.
        if number is signal.SIGTERM and ended.code == 11:
            ended = await bench.run("resume")
        assert (name, word, check(bench, ended)) == (name, word, []), ended.err
        assert await bench.leftovers() == []

    assert (duplicates(bench), missing(bench)) == (0, 0)
    assert len(executed(bench)) == real.versions


async def test_an_engine_dies_while_it_loads_and_every_run_is_deployed_once(real: Real) -> None:
    bench = real.bench
    dockerfile = bench.project / ".systemprompt/Dockerfile"
    dockerfile.write_text(
        dockerfile.read_text().replace(f"{RUN.strip(b' :').decode()} sleep 2", "")
    )
    ended = await real.dies("engine", b"/images/load")
    assert check(bench, ended) == [], ended.err
    assert await bench.leftovers() == []

    assert (duplicates(bench), missing(bench)) == (0, 0)
    assert len(executed(bench)) == real.versions
