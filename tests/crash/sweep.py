"""`python -m tests.crash.sweep`: a run is killed at each system call, and each of its writes fails once.

strace counts the calls of an undisturbed run, and then injects at the first, the second, … of each
kind. Counting is per thread: journal and network live in one each, so each call gets its turn.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from deployer.errors import JournalError
from deployer.failures import ExitCode
from deployer.run import Builder
from deployer.sandbox.packages import Apt, can_install
from deployer.states.flow import State
from tests.crash.__main__ import say
from tests.crash.bench import Bench, Ended
from tests.crash.check import check, duplicates, missing
from tests.crash.site import stand_in_site

WORKERS: Final = 2
TRIES: Final = 3  # of the next process, until the run is done
HANG_SECONDS: Final = 60.0
JOURNAL: Final = ("pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink")
NETWORK: Final = ("connect", "sendto", "recvfrom")
REST: Final = ("write", "vfork", "execve", "kill")
# What is done at each call, and at which calls. Network errors are the adapters' own tests' subject.
FAULTS: Final = {
    "signal=KILL": (*JOURNAL, *NETWORK, *REST),
    "error=ENOSPC": JOURNAL[:4],
    "error=EIO": JOURNAL,
}
_CALL: Final = re.compile(r"(\d+) +(\w+)\(")


class Point(NamedTuple):
    """The nth call of a thread, and what is done to it."""

    fault: str
    call: str
    nth: int


@dataclass(slots=True)
class Sweep:
    """What came of it."""

    tried: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    duplicates: int = 0
    missing: int = 0

    @property
    def line(self) -> str:
        """The verdict."""
        tried = ", ".join(f"{count} of {fault}" for fault, count in self.tried.items())
        return (
            f"sweep: {self.tried.total()} points ({tried}): {self.duplicates} duplicates, "
            f"{self.missing} missing, {len(self.violations)} violations"
        )

    def add(self, other: "Sweep") -> None:
        """Take another one in."""
        self.tried += other.tried
        self.codes += other.codes
        self.violations += other.violations
        self.duplicates += other.duplicates
        self.missing += other.missing


def strace(*words: str) -> tuple[str, ...]:
    """The words in front of a command."""
    # Not --seccomp-bpf, which is faster: strace 6.1 injects no signals with it (measured).
    return ("strace", "-f", "-qq", *words)


async def points(bench: Bench, log: Path, *, every: int) -> list[Point]:
    """Each call of an undisturbed run; `every` nth of them."""
    calls = sorted({call for calls in FAULTS.values() for call in calls})
    bench.prefix = strace("-o", str(log), "-e", f"trace={','.join(calls)}")
    undisturbed = await bench.run("deploy")
    if undisturbed.code != ExitCode.DONE:
        raise RuntimeError(f"the undisturbed run failed: {undisturbed.err}")
    threads: Counter[tuple[str, str]] = Counter()
    for found in map(_CALL.match, (await anyio.Path(log).read_text()).splitlines()):
        if found:
            threads[found[1], found[2]] += 1
    most = {call: max(n for (_, each), n in threads.items() if each == call) for _, call in threads}
    found_points = [
        Point(fault, call, nth + 1)
        for fault, calls in FAULTS.items()
        for call in calls
        for nth in range(most.get(call, 0))
    ]
    return found_points[::every]


async def try_point(bench: Bench, point: Point, sweep: Sweep) -> None:
    """Disturb one run there, and let the next process end it."""
    inject = f"inject={point.call}:{point.fault}:when={point.nth}"
    bench.prefix = strace("-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject)
    child = await bench.start("deploy")
    ended = await child.within(HANG_SECONDS)
    if ended is None:
        ended = await child.kill()
        sweep.violations.append(f"{point}: hangs")
    sweep.tried[point.fault] += 1
    sweep.codes[f"{point.fault} {ended.code}"] += 1
    if "Traceback" in ended.err or (point.fault != "signal=KILL" and not _is_clean(ended)):
        sweep.violations.append(f"{point}: exit code {ended.code}: {ended.err[-400:]}")
    bench.prefix = ()
    sweep.violations += [f"{point}: {each}" for each in await _what_is_wrong(bench, sweep)]


async def _what_is_wrong(bench: Bench, sweep: Sweep) -> list[str]:
    try:
        last = await _finish(bench)
        found = [*check(bench, last), *(f"V7 {line}" for line in await bench.leftovers())]
        run = bench.newest()
        sweep.duplicates += duplicates(bench)
        sweep.missing += missing(bench)
    except JournalError as error:
        return [f"V9 {error}"]
    if run is None or run.state is not State.DONE:
        found.append(f"V1 not done: {last.err[-400:] if last else ''}")
    return found


def _is_clean(ended: Ended) -> bool:
    """How a run may end whose journal could not be written once: with a record, or not at all."""
    return ended.code in (ExitCode.DONE, ExitCode.JOURNAL)


async def _finish(bench: Bench) -> Ended | None:
    """Go on as a person does; the last process, or None if there was nothing to do."""
    ended: Ended | None = None
    for _ in range(TRIES):
        run = bench.newest() if (bench.state_dir / "journal.sqlite").exists() else None
        if run is not None and run.state is State.DONE:
            break
        ended = await bench.run("resume" if run else "deploy")
    return ended


async def swept(folder: Path, *, every: int, builder: Builder = Builder.ENGINE) -> Sweep:
    """Every nth point, on a few benches side by side."""
    sweep, todo = Sweep(), list[Point]()

    async def work(number: int, listed: anyio.Event) -> None:
        place = folder / f"w{number}"
        async with stand_in_site(place / "site") as site:
            bench = Bench(place / "bench", site, builder=builder)
            await bench.furnish()
            if number == 0:
                todo.extend(await points(bench, place / "trace", every=every))
                listed.set()
            await listed.wait()
            while todo:
                point = todo.pop()
                bench.state_dir = place / f"state{len(todo)}"
                await try_point(bench, point, sweep)
                await anyio.to_thread.run_sync(_tidied, bench)
                if len(todo) % 50 == 0:
                    say(f"  {len(todo)} left; {sweep.line}")

    async with anyio.create_task_group() as tasks:
        listed = anyio.Event()
        for number in range(WORKERS):
            tasks.start_soon(work, number, listed)
    return sweep


def _tidied(bench: Bench) -> None:
    """Let no point be blamed for what an earlier one left."""
    shutil.rmtree(bench.state_dir)
    for each in (bench.folder / "tmp").iterdir():
        each.unlink()


async def have_strace() -> bool:
    """Whether strace is here, if need be from the distribution."""
    if shutil.which("strace") is None and can_install(os.environ):
        await Apt(os.environ).install("strace")
    return shutil.which("strace") is not None


def main() -> int:
    """Parse, sweep, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.sweep")
    parser.add_argument("--every", type=int, default=1, help="Only every nth point.")
    every = parser.parse_args().every
    if not anyio.run(have_strace):
        say("sweep: there is no strace here; install it")
        return 1
    whole = Sweep()
    for builder in Builder:
        sweep = _swept(builder, every)
        for each in sweep.violations[:20]:
            say(f"  {each}")
        say(f"  {builder}: exit codes: {dict(sorted(sweep.codes.items()))}")
        say(f"  {builder}: {sweep.line}")
        whole.add(sweep)
    say(whole.line)
    return 1 if whole.violations or whole.duplicates or whole.missing else 0


def _swept(builder: Builder, every: int) -> Sweep:
    folder = Path(tempfile.mkdtemp(prefix="deployer-sweep-"))
    try:
        return anyio.run(lambda: swept(folder, every=every, builder=builder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
