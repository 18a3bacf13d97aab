"""What follows cargo's end: the shell pipeline against the direct builder, in pairs.

Each round changes the project once, and both sides then bring it to the same registry. What this
tool does while cargo runs, it does here before the clock starts; the last program that cargo has
compiled is named when it starts. Both have
the base image, and both mount it. The sides take turns in going first.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
from buildah import Buildah, buildah
from image_once import PROGRAMS, directly
from image_workspace import Sizes, change, sources, touch, write_project

from deployer.adapters.http.client import Http
from deployer.sandbox.options import Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.up import Sandbox, sandbox

HERE: Final = Path(__file__).parent
BASE: Final = "debian:bookworm-slim"
UPLINK: Final = 12_500_000.0  # bytes a second: 100 Mbit/s
SHELLS: Final = {"buildkit": {"DOCKER_BUILDKIT": "1"}, "classic": {"DOCKER_BUILDKIT": "0"}}
MAIN: Final = "target/release/main"
OTHER: Final = "target/release/two"


@dataclass(frozen=True, slots=True)
class Scene:
    """One way in which a project differs from the time before."""

    name: str
    prepare: Callable[[Path], None]
    compiled: tuple[str, ...] = ()  # the programs that cargo makes anew


def _all_changed(root: Path) -> None:
    for path in sources(root):
        change(path)


SCENES: Final = (
    Scene("cold", _all_changed, PROGRAMS),
    Scene("main binary changed", lambda root: change(root / MAIN), (MAIN,)),
    Scene("one 25 MB binary changed", lambda root: change(root / OTHER), (OTHER,)),
    Scene("times touched", touch),
    Scene("nothing changed", lambda _root: None),
)


@dataclass(slots=True)
class Stage:
    """Where everything happens."""

    root: Path
    state: Path
    sandbox: Sandbox
    docker: str
    http: Http
    buildah: Buildah | str  # why there is none
    rounds: int = 0

    async def shell(self, registry: str, shell: str) -> float:
        """`docker build` and `docker push`, or buildah's."""
        image = f"{registry}/bench/{shell}:{self.rounds}"
        began = time.perf_counter()
        if isinstance(self.buildah, Buildah) and shell == "buildah":
            await self.buildah.build_and_push(self.root, image)
        else:
            env = SHELLS[shell]
            await self.run_docker(env, "build", "-q", "-t", image, "-f", "Dockerfile", ".")
            await self.run_docker(env, "push", "-q", image)
        return time.perf_counter() - began

    async def run_docker(self, env: dict[str, str], *words: str) -> str:
        """The docker command line, at the sandbox's engine."""
        around = {**os.environ, "DOCKER_HOST": self.sandbox.engine, **env}
        around["DOCKER_CONFIG"] = str(self.state / "docker")
        done = await anyio.run_process(
            [self.docker, *words], cwd=self.root, env=around, check=False
        )
        if done.returncode:
            raise SystemExit(f"docker {words[0]}: {(done.stdout + done.stderr).decode()[-600:]}")
        return done.stdout.decode()

    async def direct(self, registry: str, compiled: tuple[str, ...] = ()) -> float:
        """The direct builder; its modules are loaded, as they are when cargo ends."""
        return await directly(self.root, registry, self.state, self.http, self.rounds, compiled)


@dataclass(slots=True)
class Row:
    """One scene on one line, with the seconds of each pair."""

    line: str
    scene: str
    shell: str
    pairs: list[tuple[float, float]] = field(default_factory=list)  # shell, direct

    def summary(self) -> dict[str, Any]:
        """Medians, and the median of the pairs' ratios."""
        return {
            "line": self.line,
            "scene": self.scene,
            "shell": self.shell,
            "shell_seconds": round(statistics.median(pair[0] for pair in self.pairs), 3),
            "direct_seconds": round(statistics.median(pair[1] for pair in self.pairs), 3),
            "ratio": round(statistics.median(pair[0] / pair[1] for pair in self.pairs), 2),
            "pairs": [[round(seconds, 3) for seconds in pair] for pair in self.pairs],
        }


async def measure(stage: Stage, line: str, registry: str, shell: str, pairs: int) -> list[Row]:
    """All scenes against one shell on one line."""
    rows = []
    for scene in SCENES:
        row = Row(line, scene.name, shell)
        for number in range(pairs):
            stage.rounds += 1
            await anyio.to_thread.run_sync(scene.prepare, stage.root)
            pair = _pair(stage, registry, shell, scene.compiled, shell_first=number % 2 == 0)
            row.pairs.append(await pair)
        rows.append(row)
        found = row.summary()
        print(  # noqa: T201  # a bench tells
            f"{line:<12} {shell:<9} {scene.name:<26} shell {found['shell_seconds']:7.3f} s   "
            f"direct {found['direct_seconds']:7.3f} s   {found['ratio']:6.2f}x",
            flush=True,
        )
    return rows


async def _pair(
    stage: Stage, registry: str, shell: str, compiled: tuple[str, ...], *, shell_first: bool
) -> tuple[float, float]:
    if shell_first:
        by_shell = await stage.shell(registry, shell)
        return by_shell, await stage.direct(registry, compiled)
    directly_ = await stage.direct(registry, compiled)
    return await stage.shell(registry, shell), directly_


async def prepare_registry(stage: Stage, registry: str) -> None:
    """Both sides know the base image under this address, and how the uplink is."""
    there = f"{registry}/library/{BASE}"
    await stage.run_docker({}, "tag", BASE, there)
    await stage.run_docker({}, "push", "-q", there)
    await stage.direct(registry)
    image = f"{registry}/bench/shell:first"
    await stage.run_docker(SHELLS["buildkit"], "build", "-q", "-t", image, "-f", "Dockerfile", ".")
    pushed = await stage.run_docker({}, "push", image)
    # Otherwise docker would send the base each time, and the comparison would flatter us.
    if "Mounted from" not in pushed and "Layer already exists" not in pushed:
        raise SystemExit(f"docker did not mount the base image at {registry}:\n{pushed}")


async def shells(stage: Stage) -> list[str]:
    """Those that work here, each with a warm cache."""
    if isinstance(stage.buildah, str):
        print(f"without buildah: {stage.buildah}")  # noqa: T201
        return [*SHELLS]
    print(f"buildah keeps its images by {stage.buildah.storage}")  # noqa: T201
    await stage.shell(stage.sandbox.registry, "buildah")
    return [*SHELLS, "buildah"]


async def peak_memory(stage: Stage, megabytes: int) -> float:
    """MiB that a process of its own needed at most to bring one large binary to the registry."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project")
        await anyio.to_thread.run_sync(write_project, root, Sizes(main=megabytes, other=1))
        argv = [sys.executable, str(HERE / "image_once.py"), str(root)]
        argv += [stage.sandbox.registry, str(stage.state)]
        done = await anyio.run_process(argv, stderr=None)
    return float(json.loads(done.stdout)["peak_mib"])


@asynccontextmanager
async def slow_line(registry: str) -> AsyncIterator[str]:
    """The registry behind a line of 100 Mbit/s."""
    argv = [sys.executable, str(HERE / "slow_line.py"), registry, str(UPLINK)]
    async with await anyio.open_process(argv, stderr=None) as process:
        assert process.stdout is not None  # noqa: S101
        try:
            port = (await process.stdout.receive()).decode().strip()
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@asynccontextmanager
async def staged(sizes: Sizes) -> AsyncIterator[Stage]:
    """A sandbox, a project and a docker command line."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-bench-"))
    cache = cache_root(os.environ)
    options = Options(
        cache=cache, folder=folder / "sandbox", environ=dict(os.environ), base_port=0, faults={}
    )
    try:
        root = folder / "project"
        await anyio.to_thread.run_sync(write_project, root, sizes)
        async with (
            sandbox(options, lambda line: print(line, file=sys.stderr)) as running,  # noqa: T201
            Http(kept_connections=8) as http,
        ):
            # The distribution's own docker has BuildKit in it; later ones need a plug-in.
            fetched = cache / "programs/docker.io/usr/bin/docker"
            docker = str(fetched) if fetched.exists() else shutil.which("docker") or ""
            third = await buildah(options, running.registry, BASE, folder / "buildah")
            yield Stage(root, folder / "state", running, docker, http, third)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(options: argparse.Namespace) -> None:
    """Measure, print, and write `results.json`."""
    sizes = Sizes(main=options.main, other=options.other)
    rows: list[Row] = []
    async with staged(sizes) as stage:
        registry = stage.sandbox.registry
        await prepare_registry(stage, registry)
        for shell in await shells(stage):
            rows += await measure(stage, "loopback", registry, shell, options.pairs)
        async with slow_line(registry) as slow:
            await prepare_registry(stage, slow)
            rows += await measure(stage, "100 Mbit/s", slow, "buildkit", options.slow_pairs)
        peak = await peak_memory(stage, options.large)
    print(f"peak memory with a binary of {options.large} MB: {peak} MiB")  # noqa: T201
    place = HERE / "results.json"
    results = {
        **json.loads(place.read_text()),  # what other benches found
        "when": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "sizes": asdict(sizes),
        "peak_mib": peak,
        "large_mb": options.large,
        "rows": [row.summary() for row in rows],
    }
    place.write_text(json.dumps(results, indent=1) + "\n")


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpus": os.cpu_count(),
        "model": models[0] if models else platform.machine(),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[1], 1),
    }


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--slow-pairs", type=int, default=3)
    parser.add_argument("--main", type=int, default=70, help="MB of the main binary")
    parser.add_argument("--other", type=int, default=25, help="MB of each of the three others")
    parser.add_argument("--large", type=int, default=500, help="MB, for the memory")
    anyio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
