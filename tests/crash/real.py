"""A crash case with nothing stood in for: cargo, the sample project, a private engine, a registry."""

import json
import os
import shlex
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp

from deployer.sandbox.machine import LABEL
from deployer.sandbox.options import Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.programs import ensure_on_system
from deployer.sandbox.up import sandbox
from deployer.sandbox.workspace import commit, set_version, write_workspace
from tests.crash.bench import Bench
from tests.crash.site import Site


@asynccontextmanager
async def real_bench(folder: Path, say: Callable[[str], None]) -> AsyncIterator[Bench]:
    """The sample project before a whole sandbox of its own."""
    await ensure_on_system("cargo", os.environ, say)
    options = Options(
        cache=cache_root(os.environ),
        folder=folder / "sandbox",
        environ=dict(os.environ),
        base_port=0,
        faults={},
    )
    async with sandbox(options, say) as running, aiohttp.ClientSession() as session:
        site = Site(
            environment=running.environment(),
            api_url=running.api_url,
            ledger=running.ledger,
            secrets=(running.api_token.split(".")[1], "FlyV1-"),
            faults=running.faults,
            session=session,
            shelved=partial(shelved, options.folder / "registry"),
            containers=partial(containers, options.folder / "engine"),
        )
        bench = Bench(folder / "bench", site)
        await write_workspace(bench.project, running, os.environ)
        (bench.folder / "tmp").mkdir()
        bench.environment["HOME"] = os.environ["HOME"]  # cargo's own home is there
        bench.install_cargo(_noted(shutil.which("cargo") or "cargo"))
        yield bench


def shelved(registry: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Each blob of a registry, out of its own folder: unfinished uploads, too."""
    for pattern in ("**/blobs/**/data", "**/_uploads/**/data"):
        for path in registry.glob(pattern):
            yield str(path.parent), path.read_bytes


def containers(engine: Path) -> Iterator[str]:
    """The running containers of a private engine that are no deployed image's, by its own folder.

    One that does not run may be left by an engine that was killed itself.
    """
    for path in engine.glob("containers/*/config.v2.json"):
        with suppress(OSError, ValueError):
            told = json.loads(path.read_text())
            if told["State"]["Running"] and LABEL not in (told["Config"]["Labels"] or {}):
                yield f"container {told['Name']} {told['Path']}"


async def new_version(bench: Bench, number: int) -> None:
    """Change the program, so that there is something to compile and to push."""
    set_version(bench.project, f"1.0.{number}")
    await commit(bench.project, f"Version {number}", os.environ)


def _noted(cargo: str) -> str:
    """A script that notes each build and is cargo then."""
    return f'[ "$1" = build ] && echo "$$ $*" >> "$CARGO_CRASH_LOG"\nexec {shlex.quote(cargo)} "$@"'
