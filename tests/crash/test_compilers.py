"""A real cargo, its compiler or its linker is killed: the build is tried again, fails, and goes on."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from deployer.failures import Kind
from deployer.sandbox.programs import ensure_on_system
from tests.crash.bench import Bench, processes_in, until
from tests.crash.check import check, ended_as, executed
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]
TRIES: Final = 2
# Nothing to compile, and nobody waits for it: a constant that takes half a minute to compute.
SLOW: Final = """\
#![allow(long_running_const_eval)]
const N: u64 = { let mut n = 0; while n < 100_000_000 { n += 1; } n };
fn main() { println!("{N}"); }
"""
QUICK: Final = "fn main() {}\n"
# Without a child, which would keep the pipe to rustc open; and not for ever.
WAITS: Final = "#!/bin/sh\nulimit -t 30\nwhile :; do :; done\n"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    await ensure_on_system("cargo", os.environ, lambda _line: None)
    async with stand_in_site(tmp_path / "site") as site:
        made = Bench(tmp_path / "bench", site)
        await made.furnish()
        made.environment |= {"HOME": os.environ["HOME"], "CARGO_NET_OFFLINE": "true"}
        made.install_cargo(f'exec {shutil.which("cargo")} "$@"')
        write(made, "Cargo.toml", '[workspace]\nmembers = ["core"]\nresolver = "2"\n')
        yield made
        made.end_all()


def write(bench: Bench, name: str, text: str) -> None:
    path = bench.project / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if text.startswith("#!/") else 0o644)


def slow_compiler(bench: Bench) -> None:
    write(bench, "core/src/main.rs", SLOW)


def slow_linker(bench: Bench) -> None:
    link_by(bench, WAITS)


def slow_ld(bench: Bench) -> None:
    """What cc calls as its linker; by its second name where rustc brings one of its own."""
    tools = bench.project / "tools"
    link_by(bench, f'#!/bin/sh\nexec cc -B{tools} "$@"\n')
    for name in ("ld", "ld.lld"):
        write(bench, f"tools/{name}", WAITS)


def link_by(bench: Bench, script: str) -> None:
    write(bench, "core/src/main.rs", QUICK)
    write(bench, "tools/my-linker", script)
    flags = f'rustflags = ["-Clinker={bench.project}/tools/my-linker"]'
    write(bench, ".cargo/config.toml", f"[build]\n{flags}\n")


def quick(bench: Bench) -> None:
    write(bench, "core/src/main.rs", QUICK)
    shutil.rmtree(bench.project / ".cargo", ignore_errors=True)


def victims(folder: Path, names: str) -> Iterator[int]:
    """The processes of the bench that are one of these programs, at their work."""
    for line in processes_in(folder):
        pid = line.partition(" ")[0]
        # What cargo asks of rustc beforehand is no work.
        asked = {"-vV", "--print", "--version"} & set(line.split())
        with suppress(OSError):
            if not asked and Path(f"/proc/{pid}/comm").read_text().strip() in names.split():
                yield int(pid)


LONG = pytest.mark.long
KILL, TERM = signal.SIGKILL, signal.SIGTERM


@pytest.mark.parametrize(
    ("victim", "number", "slow", "kind"),
    [
        pytest.param("cargo", KILL, slow_compiler, Kind.CARGO_KILLED, marks=LONG),
        pytest.param("cargo", TERM, slow_compiler, Kind.CARGO_KILLED, marks=LONG),
        pytest.param("rustc", KILL, slow_compiler, Kind.RUSTC_KILLED),
        pytest.param("rustc", TERM, slow_compiler, Kind.RUSTC_KILLED, marks=LONG),
        pytest.param("my-linker", KILL, slow_linker, Kind.RUSTC_KILLED, marks=LONG),
        pytest.param("my-linker", TERM, slow_linker, Kind.RUSTC_KILLED, marks=LONG),
        pytest.param("ld ld.lld", KILL, slow_ld, Kind.RUSTC_KILLED, marks=LONG),
        pytest.param("ld ld.lld", TERM, slow_ld, Kind.RUSTC_KILLED, marks=LONG),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "name", ""),
)
async def test_a_build_whose_part_is_killed_twice_fails_and_goes_on(
    bench: Bench,
    victim: str,
    number: signal.Signals,
    slow: Callable[[Bench], None],
    kind: Kind,
) -> None:
    slow(bench)
    child = await bench.start("deploy")
    struck: list[int] = []

    def strikes() -> bool:
        # The oldest: what cargo has just forked is called cargo, too.
        found = min(set(victims(bench.folder, victim)) - set(struck), default=None)
        if found is not None:
            os.kill(found, number)
            struck.append(found)
        return found is not None

    assert await until(lambda: "building       begins" in child.err.read_text(), 20)
    for _ in range(TRIES):
        assert await until(strikes, 10, pause=0.1), child.err.read_text()
    ended = await child.within(20)

    assert ended is not None
    assert ended_as(bench, ended, kind, 10) == []
    assert await bench.leftovers() == []
    quick(bench)
    assert check(bench, await bench.run("resume")) == []
    assert len(executed(bench)) == 1
