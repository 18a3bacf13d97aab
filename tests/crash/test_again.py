"""What is not done again: a push after a kill, a build in a rollback."""

from pathlib import Path
from typing import Final

import anyio
import pytest

from deployer.failures import ExitCode
from deployer.sandbox.options import Contract
from tests.crash.bench import Bench, until
from tests.crash.check import check, executed
from tests.crash.kills import UPLOAD_MAX
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
ROLLBACK_SECONDS: Final = 5.0


@pytest.mark.parametrize("contract", Contract)
async def test_a_rollback_ends_with_the_earlier_digest_and_builds_nothing(
    tmp_path: Path, contract: Contract
) -> None:
    async with stand_in_site(tmp_path / "site", contract=contract) as site:
        bench = Bench(tmp_path / "bench", site)
        await bench.furnish()
        await bench.run("deploy")
        source = anyio.Path(bench.project / "core/src/main.rs")
        await source.write_text(await source.read_text() + "// changed\n")
        await bench.run("deploy")
        first, second = (row["digest"] for row in executed(bench))
        builds = bench.built()
        await site.forget()

        began = anyio.current_time()
        ended = await bench.run("rollback", "--yes")
        seconds = anyio.current_time() - began

        assert ended.code == ExitCode.DONE, ended.err
        assert first != second
        assert [row["digest"] for row in executed(bench)] == [first, second, first]
        assert bench.built() == builds
        assert await site.uploaded() < UPLOAD_MAX
        assert seconds < ROLLBACK_SECONDS
        assert check(bench, ended) == []


async def test_a_resume_after_the_push_compiles_nothing_and_uploads_nothing(
    tmp_path: Path,
) -> None:
    async with stand_in_site(tmp_path / "site") as site:
        bench = Bench(tmp_path / "bench", site)
        await bench.furnish()
        child = await bench.start("deploy")
        assert await until(lambda: "building       begins" in child.err.read_text(), 20)
        site.pauses["deploy"] = 20.0
        assert await until(lambda: "asking the Management API" in child.err.read_text(), 20)
        await child.kill()
        site.pauses.clear()
        builds, uploaded = bench.built(), await site.uploaded()

        ended = await bench.run("resume")

        assert bench.built() == builds
        assert await site.uploaded() - uploaded < UPLOAD_MAX
        assert len(executed(bench)) == 1
        assert check(bench, ended) == []
