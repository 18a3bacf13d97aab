"""Whole deploys, cargo and the proof included: the shell pipeline against both builders.

Each side has its own copy of the sample project, its own tenant and its own target folder. They
take turns in going first, against one sandbox.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream
from bookkeeping import MEMORY, milliseconds
from image_path import HERE, machine
from image_workspace import MEGABYTE, write_code
from spans import Span, covered, read_spans, write_shims

from deployer.sandbox.options import TENANTS, Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.up import Sandbox, sandbox
from deployer.sandbox.workspace import commit, set_version, write_workspace

SIDES: Final = ("shell", "engine", "direct")
CRATES: Final = {
    "core": "main",
    "crates/system-tools": "other",
    "extensions/mcp/infrastructure": "other",
    "extensions/mcp/admin": "other",
}
AFTER_CARGO: Final = ("imaging", "authenticating", "pushing")

SHELL: Final = """\
set -eu
for crate in core crates/system-tools extensions/mcp/infrastructure extensions/mcp/admin; do
  cargo build -q --release --manifest-path "$crate/Cargo.toml" --target-dir target
done
pick() { printf %s "$login" | sed -n "s/.*\\"$1\\": *\\"\\([^\\"]*\\)\\".*/\\1/p"; }
ask() { curl -fsS -H "Authorization: Bearer $SYSTEMPROMPT_API_TOKEN" "$@"; }
tenant="$SYSTEMPROMPT_API_URL/api/v1/tenants/$TENANT"
login=$(ask "$tenant/registry-token")
image="$(pick registry)/$(pick repository):$TAG"
docker build -q -t "$image" -f .systemprompt/Dockerfile .
pick password | docker login -u x --password-stdin "$(pick registry)"
docker push -q "$image"
ask -X POST -H 'Content-Type: application/json' -d "{\\"image\\": \\"$image\\"}" "$tenant/deploy"
until ask "$tenant/status" | grep -q '"running"'; do sleep 0.1; done
until curl -fsS -o /dev/null "$URL"; do sleep 0.1; done
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """How a project differs from the time before."""

    name: str
    prepare: Callable[[Path, int], None]


def _cold(project: Path, number: int) -> None:
    shutil.rmtree(project / "target", ignore_errors=True)
    set_version(project, f"cold-{number}")


SCENES: Final = (
    Scene("cold", _cold),
    Scene("one crate changed", lambda project, number: set_version(project, f"one-{number}")),
    Scene("nothing changed", lambda _project, _number: None),
)


@dataclass(slots=True)
class Took:
    """One run by one side."""

    wall: float
    after_cargo: float  # from cargo's end until the registry has the image
    overhead: float | None = None  # of the tool: see `overhead`


@dataclass(slots=True)
class Stage:
    """Where everything happens."""

    folder: Path
    sandbox: Sandbox
    docker: str
    runs: int = 0
    spans: list[Span] = field(default_factory=list)

    def environment(self, side: str) -> dict[str, str]:
        """What a side's processes see; no state of the user's."""
        tenant = TENANTS[SIDES.index(side)].id
        path = f"{self.folder / 'shims'}:{Path(self.docker).parent}:{os.environ['PATH']}"
        return {
            **os.environ,
            **self.sandbox.environment(),
            "PATH": path,
            "TENANT": tenant,
            "TAG": f"t{self.runs}",
            "URL": self.sandbox.urls[tenant],
            "DOCKER_BUILDKIT": "1",
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "XDG_STATE_HOME": str(self.folder / "state" / side),
            "PYTHONPATH": str(HERE / "timing"),
            "DEPLOYER_BENCH_TIMES": str(self.folder / "times"),
        }

    async def deploy(self, side: str) -> Took:
        """One deploy by one side."""
        self.runs += 1
        return await (self._by_shell() if side == "shell" else self._by_tool(side))

    async def _by_shell(self) -> Took:
        began = time.time()  # noqa: TID251
        done = await anyio.run_process(
            ["sh", "-c", SHELL],
            cwd=self.folder / "shell",
            env=self.environment("shell"),
            check=False,
        )
        ended = time.time()  # noqa: TID251
        if done.returncode:
            raise SystemExit(f"the shell pipeline: {(done.stdout + done.stderr).decode()[-800:]}")
        spans = read_spans(self.folder / "times")
        pushed = max(span.ended for span in spans if span.name == "docker")
        return Took(ended - began, pushed - _cargo_end(spans))

    async def _by_tool(self, side: str) -> Took:
        env = self.environment(side)
        argv = [sys.executable, "-m", "deployer", "--json", "deploy", "--builder", side]
        argv += ["--tenant", env["TENANT"]]
        said: list[tuple[float, str]] = []
        began = time.time()  # noqa: TID251
        async with (
            await anyio.open_process(argv, cwd=self.folder / side, env=env) as process,
            anyio.create_task_group() as readers,
        ):
            assert process.stdout is not None  # noqa: S101
            assert process.stderr is not None  # noqa: S101
            readers.start_soon(_listen, process.stdout, [])
            await _listen(process.stderr, said)
            code = await process.wait()
        ended = time.time()  # noqa: TID251
        if code:
            raise SystemExit("\n".join(line for _, line in said)[-1200:])
        states = states_of(said)
        spans = read_spans(self.folder / "times")
        wall, pushed = ended - began, states["pushing"].ended
        parts = [*spans, *(span for name, span in states.items() if name != "building")]
        return Took(wall, pushed - _cargo_end(spans), wall - covered(parts))


def _cargo_end(spans: list[Span]) -> float:
    return max(span.ended for span in spans if span.name == "cargo")


async def _listen(stream: ByteReceiveStream, said: list[tuple[float, str]]) -> None:
    left = ""
    async for text in TextReceiveStream(stream):
        *lines, left = (left + text).split("\n")
        said.extend((time.time(), line) for line in lines)  # noqa: TID251


def states_of(said: list[tuple[float, str]]) -> dict[str, Span]:
    """When each state began and ended, by the lines that tell it."""
    found: dict[str, Span] = {}
    for when, line in said:
        words = line.split()
        if len(words) > 2 and words[2] == "begins":  # noqa: PLR2004
            found[words[1]] = Span(words[1], when, when)
        elif len(words) > 1 and words[1] in found:
            found[words[1]] = found[words[1]]._replace(ended=when)
    return found


def summary(scene: str, rounds: list[Mapping[str, Took]]) -> dict[str, Any]:
    """Medians, and the medians of the rounds' ratios."""

    def median(pick: Callable[[Mapping[str, Took]], float]) -> float:
        return round(statistics.median(map(pick, rounds)), 3)

    row: dict[str, Any] = {"scene": scene}
    for side in SIDES:
        row[f"{side}_seconds"] = median(lambda took, side=side: took[side].wall)
        row[f"{side}_after_cargo"] = median(lambda took, side=side: took[side].after_cargo)
    for side in SIDES[1:]:
        row[f"{side}_ratio"] = median(lambda took, side=side: took["shell"].wall / took[side].wall)
        row[f"{side}_overhead"] = median(lambda took, side=side: took[side].overhead or 0.0)
    row["rounds"] = [{side: round(took[side].wall, 3) for side in SIDES} for took in rounds]
    return row


async def measure(stage: Stage, count: int) -> list[dict[str, Any]]:
    """All scenes, all sides in each round."""
    rows = []
    for scene in SCENES:
        rounds = []
        for number in range(count):
            order = SIDES[number % len(SIDES) :] + SIDES[: number % len(SIDES)]
            took = {}
            for side in order:
                prepare = partial(scene.prepare, stage.folder / side, stage.runs)
                await anyio.to_thread.run_sync(prepare)
                took[side] = await stage.deploy(side)
            rounds.append(took)
        rows.append(summary(scene.name, rounds))
        print(_shown(rows[-1]), flush=True)  # noqa: T201  # a bench tells
    return rows


def _shown(row: Mapping[str, Any]) -> str:
    shell = f"shell {row['shell_seconds']:6.2f} s ({row['shell_after_cargo']:.2f} s after cargo)"
    parts = [f"{row['scene']:<18} {shell}"]
    parts += [
        f"{side} {row[f'{side}_seconds']:6.2f} s ({row[f'{side}_ratio']:.2f}x, "
        f"{row[f'{side}_after_cargo']:.2f} s after cargo, "
        f"{row[f'{side}_overhead'] * 1000:.0f} ms own)"
        for side in SIDES[1:]
    ]
    return "   ".join(parts)


def _with_payload(project: Path, folder: Path, sizes: Mapping[str, int]) -> None:
    """Programs as large as real ones: each carries machine code that nobody runs."""
    for crate, kind in CRATES.items():
        if not sizes[kind]:
            continue
        payload = folder / f"{crate.replace('/', '-')}.payload"
        size = write_code(payload, sizes[kind])
        main = project / crate / "src/main.rs"
        text = f'#[used]\nstatic PAYLOAD: [u8; {size}] = *include_bytes!("{payload}");\n'
        main.write_text(f"{main.read_text()}\n{text}")


@asynccontextmanager
async def staged(sizes: Mapping[str, int]) -> AsyncIterator[Stage]:
    """A sandbox, and a project for each side."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-bench-"))
    cache = cache_root(os.environ)
    options = Options(
        cache=cache, folder=folder / "sandbox", environ=dict(os.environ), base_port=0, faults={}
    )
    try:
        async with sandbox(options, lambda line: print(line, file=sys.stderr)) as running:  # noqa: T201
            project = folder / "project"
            await write_workspace(project, running, os.environ)
            await anyio.to_thread.run_sync(_with_payload, project, folder, sizes)
            await commit(project, "Carry payloads", os.environ)
            for side in SIDES:
                await anyio.to_thread.run_sync(shutil.copytree, project, folder / side)
            fetched = cache / "programs/docker.io/usr/bin/docker"
            docker = str(fetched) if fetched.exists() else shutil.which("docker") or ""
            known = {"cargo": shutil.which("cargo") or "", "git": shutil.which("git") or ""}
            write_shims(folder / "shims", {**known, "docker": docker}, folder / "times")
            yield Stage(folder, running, docker)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(options: argparse.Namespace) -> None:
    """Measure, print, and put a key of its own into `results.json`."""
    sizes = {"main": options.main, "other": options.other}
    async with staged(sizes) as stage:
        # The first one of each side fetches what all later ones find: base image, caches.
        for side in SIDES:
            await stage.deploy(side)
        rows = await measure(stage, options.rounds)
    kept = await milliseconds()
    without = await milliseconds(MEMORY) if MEMORY.is_dir() else kept
    print(f"bookkeeping of a run: {kept:.1f} ms, without the disk {without:.1f} ms")  # noqa: T201
    place = HERE / "results.json"
    results = json.loads(place.read_text())
    results["whole"] = {
        "machine": machine(),
        "sizes": {name: size * MEGABYTE for name, size in sizes.items()},
        "bookkeeping_ms": round(kept, 2),
        "bookkeeping_in_memory_ms": round(without, 2),
        "rows": rows,
    }
    place.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--main", type=int, default=70, help="MB in the main binary")
    parser.add_argument("--other", type=int, default=25, help="MB in each of the three others")
    anyio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
