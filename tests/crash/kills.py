"""Random kill -9 until Done: a run is started, killed at a random instant and resumed, for ever anew."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import anyio

from deployer.failures import ExitCode
from deployer.run import Run
from deployer.states.flow import State
from tests.crash.bench import Bench, Child, Ended, processes_in, until
from tests.crash.check import argv_secrets, check, duplicates, missing

WHOLE_RUN_SECONDS: Final = 60.0  # nothing that is not killed may take so long
RESUMES_MAX: Final = 9  # of one case: the tool itself gives up a run that is resumed more often
UPLOAD_MAX: Final = 10_000  # bytes, for an image that the registry has
_BY_TIME: Final = 0.2  # the share of kills that wait for no line
_PAUSE: Final = 0.1  # of a run's whole time, after a line; a state of the stand-ins takes less
_PUSHED: Final = (State.DEPLOYING, State.DONE)


@dataclass(slots=True)
class Totals:
    """What came of many cases."""

    seed: str
    cases: int = 0
    kills: int = 0
    done: int = 0
    runs: int = 0
    duplicates: int = 0
    missing: int = 0
    orphans: int = 0
    violations: list[str] = field(default_factory=list)
    killed_in: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Whether nothing at all was wrong."""
        wrong = self.duplicates or self.missing or self.orphans or self.violations
        return not wrong and self.done == self.cases

    @property
    def line(self) -> str:
        """The verdict."""
        broken = sum(each.startswith("V4") for each in self.violations)
        return (
            f"{self.runs} runs, {self.kills} kills, {self.done} of {self.cases} cases done, "
            f"{self.duplicates} duplicates, {self.missing} missing, {broken} broken histories, "
            f"{self.orphans} orphans, {len(self.violations) - broken} other violations; "
            f"CRASH_SEED={self.seed}"
        )

    def add(self, other: "Totals") -> None:
        """Take another worker's totals in."""
        for name in ("cases", "kills", "done", "runs", "duplicates", "missing", "orphans"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.violations += other.violations
        self.killed_in += other.killed_in


@dataclass(slots=True)
class Killer:
    """Kills the command line of one bench, at instants that its random numbers choose."""

    bench: Bench
    chance: random.Random
    totals: Totals
    span: float = 0.0  # seconds of a run that nobody disturbs
    lines: int = 13  # that a whole run says
    before_each: Callable[[int], Awaitable[None]] | None = None  # hears the number of the case
    kept: tuple[str, int, int] | None = None  # run, builds, bytes: once its image is pushed

    async def measure(self) -> None:
        """Let one run go to its end, to know how long that takes."""
        began = anyio.current_time()
        ended = await self.bench.run("deploy")
        self.span = anyio.current_time() - began
        self.totals.violations += check(self.bench, ended)

    async def case(self) -> None:
        """One deploy: start it, kill it, go on, until it is done."""
        self.totals.cases += 1
        self.kept = None
        if self.before_each is not None:
            await self.before_each(self.totals.cases)
        await self.bench.site.forget()
        before = len(self.bench.records())
        ended: Ended | None = None
        for attempt in range(RESUMES_MAX):
            spared = attempt == RESUMES_MAX - 1
            command = self._command(before, spared=spared)
            ended = await self._process(command, spared=spared)
            if ended is not None and ended.code == ExitCode.DONE:
                break
            newest = self._begun(before)
            if newest is not None and newest.acknowledged:
                ended = None  # killed behind its last act: whoever asks hears that it is done
                break
        await self._judge(ended, before)

    def _begun(self, before: int) -> Run | None:
        """The case's run, if the journal knows one."""
        records = self.bench.records()
        return records[0].run if len(records) > before else None

    def _command(self, before: int, *, spared: bool) -> str:
        """What somebody types who finds the run as it is."""
        run = self._begun(before)
        if run is None:
            return "deploy"
        # A new deploy replaces an interrupted run, reports a finished one, and is refused beside
        # an unanswered POST: each of them is somebody's habit.
        habit = self.chance.choices(["resume", "deploy"], [4, 1])[0]
        return "resume" if spared else habit

    async def _process(self, command: str, *, spared: bool) -> Ended | None:
        """One process, until its end or until it is killed; None then."""
        child = await self.bench.start(command)
        ended = await (child.within(WHOLE_RUN_SECONDS) if spared else self._undisturbed(child))
        if ended is None:
            if spared:
                self.totals.violations.append(f"V11 {command} took {WHOLE_RUN_SECONDS:.0f} s")
            await child.kill()
            await self._after_the_kill()
        elif ended.code not in (ExitCode.DONE, ExitCode.UNKNOWN):
            self.totals.violations.append(
                f"V1 {command} ended with {ended.code}: {ended.err[-800:]}"
            )
        return ended

    async def _undisturbed(self, child: Child) -> Ended | None:
        """Its end, if that comes before a random instant.

        Half of a process's life are imports, and a state may be over in milliseconds: most kills
        wait for a line, so that each state gets its share.
        """
        if self.chance.random() < _BY_TIME:
            return await child.within(self.chance.uniform(0, 1.1) * self.span)
        lines = self.chance.randint(1, self.lines)
        pause = self.chance.uniform(0, _PAUSE * self.span)
        await until(
            lambda: child.process.returncode is not None or child.lines() >= lines,
            WHOLE_RUN_SECONDS,
            pause=0.002,
        )
        return await child.within(pause)

    async def _after_the_kill(self) -> None:
        self.totals.kills += 1
        shown = argv_secrets(list(processes_in(self.bench.folder)), self.bench.site.secrets)
        self.totals.violations += [f"V8 in argv: {line}" for line in shown]
        # A child between fork and exec has the lock's file open for some milliseconds.
        if not await until(lambda: not self.bench.is_locked(), 0.3):
            self.totals.violations.append("V6 the lock outlived its holder")
        run = self.bench.newest()
        self.totals.killed_in[_where(run)] += 1
        if run is not None and run.state in _PUSHED and self.kept is None and not run.acknowledged:
            self.kept = (run.id, self.bench.built(), await self.bench.site.uploaded())
        # The next command does not wait for what the killed one left, or it does.
        if self.chance.random() < 0.5:
            await self._count_orphans()

    async def _count_orphans(self) -> None:
        orphans = await self.bench.leftovers()
        self.totals.orphans += len(orphans)
        self.totals.violations += [f"V7 still alive: {line}" for line in orphans]

    async def _judge(self, ended: Ended | None, before: int) -> None:
        run = self._begun(before)
        self.totals.done += run is not None and run.state is State.DONE
        await self._count_orphans()
        self.totals.violations += check(self.bench, ended, since=before)
        if self.kept is not None and run is not None and self.kept[0] == run.id:
            _, builds, size = self.kept
            if self.bench.built() > builds:
                self.totals.violations.append(f"V5 run {run.id} compiled again after its push")
            if await self.bench.site.uploaded() - size > UPLOAD_MAX:
                self.totals.violations.append(f"V5 run {run.id} uploaded again after its push")

    def close(self) -> None:
        """Ask the judge."""
        self.totals.runs += len(self.bench.records())
        self.totals.duplicates += duplicates(self.bench)
        self.totals.missing += missing(self.bench)


def _where(run: Run | None) -> str:
    if run is None or run.acknowledged or run.abandoned:
        return "before a run"
    if run.state is State.DEPLOYING and run.intent is not None:
        return "deploying, POST open"
    return str(run.state)


async def kill_until(kills: int, killer: Killer, progress: Callable[[Totals], None]) -> None:
    """Carry out cases until so many kills have struck."""
    await killer.measure()
    while killer.totals.kills < kills:
        await killer.case()
        progress(killer.totals)
    killer.close()
