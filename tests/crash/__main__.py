"""`python -m tests.crash`: the long versions of the crash tests; the last line is the verdict."""

import argparse
import math
import os
import random
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio

from deployer.run import Builder
from deployer.sandbox.options import Contract
from tests.crash.bench import Bench
from tests.crash.kills import Killer, Totals, kill_until
from tests.crash.real import new_version, real_bench
from tests.crash.site import stand_in_site


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def stand_ins(kills: int, seed: str, folder: Path) -> Totals:
    """Random kills against stand-ins for cargo, engine, registry and servers of both contracts.

    Each builder has its worker.
    """
    whole = Totals(seed)
    share = math.ceil(kills / len(Builder) / len(Contract))

    async def work(number: int, builder: Builder) -> None:
        for contract in Contract:
            place = folder / f"{builder}-{contract}"
            async with stand_in_site(place / "site", contract=contract, work_seconds=0.05) as site:
                bench = Bench(place / "bench", site, builder=builder)
                await bench.furnish()
                totals = Totals(seed)
                killer = Killer(
                    bench,
                    random.Random(f"{seed}/{number}/{contract}"),
                    totals,
                    before_each=partial(another_pace, bench),
                )
                await kill_until(share, killer, partial(_progress, number))
                whole.add(totals)

    async with anyio.create_task_group() as tasks:
        for number, builder in enumerate(Builder):
            tasks.start_soon(work, number, builder)
    return whole


async def another_pace(bench: Bench, number: int) -> None:
    """Let cargo have work in each second case: then layers are sent meanwhile."""
    bench.environment["CARGO_CRASH_SECONDS"] = "0.5" if number % 2 else "0.03"


async def another_builder(bench: Bench, number: int) -> None:
    """Take turns, each time with something to compile."""
    bench.environment["DEPLOYER_BUILDER"] = tuple(Builder)[number % 2]
    await new_version(bench, number)


async def nothing_stood_in(kills: int, seed: str, folder: Path) -> Totals:
    """Random kills with real cargo, engine and registry."""
    totals = Totals(seed)
    async with real_bench(folder, say) as bench:
        killer = Killer(
            bench,
            random.Random(seed),
            totals,
            before_each=partial(another_builder, bench),
        )
        await kill_until(kills, killer, partial(_progress, 0))
    return totals


def _progress(number: int, totals: Totals) -> None:
    if totals.cases % 20 == 0 or totals.violations:
        say(f"  worker {number}: {totals.line}")
        for each in totals.violations[-3:]:
            say(f"    {each}")


def report(title: str, totals: Totals) -> None:
    """Say what came of it."""
    for each in totals.violations[:20]:
        say(f"  {each}")
    where = ", ".join(f"{name} {count}" for name, count in totals.killed_in.most_common())
    say(f"{title}: killed in: {where}")
    say(f"{title}: {totals.line}")


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--kills", type=int, default=1000, help="With stand-ins.")
    parser.add_argument("--real", type=int, default=100, help="With everything real.")
    parser.add_argument("--keep", action="store_true")
    chosen = parser.parse_args()
    seed = os.environ.get("CRASH_SEED") or f"{random.SystemRandom().getrandbits(32):08x}"
    say(f"CRASH_SEED={seed}")
    folder = Path(tempfile.mkdtemp(prefix="deployer-crash-"))
    began = time.monotonic()
    try:
        totals = Totals(seed)
        for title, work, kills in (
            ("stand-ins", stand_ins, chosen.kills),
            ("real", nothing_stood_in, chosen.real),
        ):
            if kills:
                part = anyio.run(work, kills, seed, folder / title)
                report(title, part)
                totals.add(part)
        say(f"crash: {totals.line} ({time.monotonic() - began:.0f} s)")
        return 0 if totals.clean else 1
    finally:
        if chosen.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
