"""cargo: compiles the project's crates into the root's `target/`, and proves what came out."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio

from deployer.adapters.cargo import crates as project_crates
from deployer.adapters.cargo import hashing
from deployer.adapters.cargo import products as cargo_products
from deployer.adapters.cargo.command import (
    build_arguments,
    cargo_environment,
    clean_arguments,
    target_dir,
)
from deployer.adapters.cargo.failures import failure
from deployer.adapters.cargo.hashing import Hashes, Programs
from deployer.adapters.cargo.products import Product, look_early
from deployer.adapters.cargo.transcript import LockAwaited, Named, Transcript
from deployer.adapters.cargo.watch import BuildWatch, Patience, oom_kills
from deployer.adapters.leaks import Leaks
from deployer.adapters.process.job import Job, LineSplitter, NotStarted, run
from deployer.adapters.process.programs import find_program
from deployer.adapters.text import clean
from deployer.events import OutputLine, Transient, Waiting
from deployer.failures import Failure, Kind
from deployer.model import Binary, Crate, Secret
from deployer.ports import Emit, nobody
from deployer.states.flow import State

ONE_JOB: Final = {"CARGO_BUILD_JOBS": "1"}
_VERSION: Final = re.compile(r"cargo (\d+\.\d+\.\d+\S*)")


class Cargo:
    """The Rust toolchain, called once a crate. Fits `deployer.ports.Toolchain`."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        database_url: Secret | None,
        sqlx_offline: bool = False,
        patience: Patience | None = None,
        leaks: Leaks | None = None,
        programs: Programs | None = None,
    ) -> None:
        """Find cargo by PATH of `environment`, once: what is found now is run later.

        `leaks`: what no binary may hold. `programs`: what earlier processes read.
        """
        self._leaks: Final = leaks or Leaks()
        self._path: Final = find_program("cargo", environment)
        self._environment: Final = cargo_environment(
            environment, database_url, sqlx_offline=sqlx_offline
        )
        offline = "the offline cache of sqlx" if sqlx_offline else ""
        self._queries: Final = "the database of DATABASE_URL" if database_url else offline
        self._patience: Final = patience or Patience()
        self._hashes: Final = Hashes(programs)
        self._gently = False

    def crates(self, project_root: Path) -> tuple[Crate, ...] | Failure:
        """Which builds the project needs; reads manifests only."""
        return project_crates.crates(project_root)

    def crate_flaws(self, project_root: Path) -> tuple[Failure, ...]:
        """All that is wrong with the manifests; `crates` tells the first."""
        return project_crates.flaws(project_root)

    def queries(self) -> str | Failure:
        """What sqlx checks the queries against: a database, or its offline cache."""
        if not self._queries:
            # With a warm target/ a build without it succeeds, and fails at the next change (measured).
            return _failure(Kind.DATABASE_URL_MISSING, "DATABASE_URL is not set")
        return self._queries

    def has_queries(self, project_root: Path) -> bool:
        """Whether a lock file of the project names sqlx; True where there is none to tell."""
        return project_crates.locks_package(project_root, "sqlx")

    async def check(self, project_root: Path) -> str | Failure:
        """cargo's version, `1.95.0`."""
        ended = await self._call(project_root, ("--version",), self._watch(project_root), _unheard)
        if isinstance(ended, Failure):
            return ended
        for line in ended.tail:
            if version := _VERSION.match(line):
                return version[1]
        return _failure(Kind.CARGO_MISSING, f"{self._path} --version told no version of cargo")

    async def build(
        self,
        project_root: Path,
        crates: Sequence[Crate],
        emit: Emit,
        built: Callable[[Path], None] = nobody,
    ) -> tuple[Binary, ...] | Failure:
        """Compile each crate once into the root `target/`, and hash what came out.

        The binaries come in the order of `crates`. Cancelled, it returns when each process that
        it started is gone. `built` hears of each program as soon as cargo names it.
        """
        target, threads = target_dir(project_root), hashing.limiter()
        async with anyio.create_task_group() as early:

            def named(path: Path) -> None:
                built(path)
                early.start_soon(look_early, path, target, self._hashes, self._leaks, threads)

            products = await self._products(project_root, crates, emit, named)
            # Else they go on: cut short, the proof would begin each of them anew.
            if isinstance(products, Failure):
                early.cancel_scope.cancel()
        if isinstance(products, Failure):
            return products
        binaries = await cargo_products.prove(target, crates, products, self._hashes, emit)
        if isinstance(binaries, Failure):
            return binaries
        return await cargo_products.leaking(binaries, self._leaks) or binaries

    async def _products(
        self, project_root: Path, crates: Sequence[Crate], emit: Emit, built: Callable[[Path], None]
    ) -> list[Product] | Failure:
        watch = self._watch(project_root)
        products: list[Product] = []
        for crate in crates:
            arguments = build_arguments(project_root, crate)
            emit(OutputLine(source="cargo", text=clean(f"$ cargo {' '.join(arguments)}")))
            ended = await self._call(project_root, arguments, watch, emit, built)
            if isinstance(ended, Failure):
                # Memory is the machine's: whichever project builds next, one compiler at a time.
                self._gently = self._gently or ended.kind is Kind.RUSTC_KILLED
                return ended
            products += (Product(crate, artifact) for artifact in ended.artifacts)
        return products

    async def damaged(self, binaries: Sequence[Binary]) -> tuple[Binary, ...]:
        """Those that are gone or are not what Building left."""
        return await cargo_products.damaged(binaries, self._hashes)

    async def clean(self, project_root: Path, binaries: Sequence[Binary]) -> Failure | None:
        """Make cargo forget these: it calls a truncated binary fresh (measured)."""
        watch = self._watch(project_root)
        for package, manifest in dict.fromkeys((each.package, each.manifest) for each in binaries):
            arguments = clean_arguments(project_root, package, manifest)
            ended = await self._call(project_root, arguments, watch, _unheard)
            if isinstance(ended, Failure):
                return ended
        return cargo_products.left_over(binaries)

    def _watch(self, project_root: Path) -> BuildWatch:
        return BuildWatch(self._patience, target_dir(project_root))

    async def _call(
        self,
        project_root: Path,
        arguments: Sequence[str],
        watch: BuildWatch,
        emit: Emit,
        built: Callable[[Path], None] = nobody,
    ) -> Transcript | Failure:
        """Run cargo to a good end and return what it said."""
        if self._path is None:
            return _failure(Kind.CARGO_MISSING, "no program `cargo` on PATH")
        transcript, oom_kills_before = Transcript(), oom_kills()
        job = Job(
            command=(self._path, *arguments),
            cwd=project_root,
            environment=self._environment | (ONE_JOB if self._gently else {}),
            stdout=LineSplitter(b"\n", _ear(transcript.hear_stdout, watch, emit, built)),
            stderr=LineSplitter(b"\r\n", _ear(transcript.hear_stderr, watch, emit, built)),
        )
        status = await run(job, watch.follow)
        if isinstance(status, NotStarted):
            return _not_started(project_root, status)
        if watch.verdict is not None:
            return _out_of_patience(watch.verdict, self._patience, transcript)
        if status == 0 and (transcript.finished or arguments[0] != "build"):
            return transcript
        return failure(
            transcript.evidence(
                status, least_free=watch.least_free, oom_kills=oom_kills() - oom_kills_before
            )
        )


def _unheard(_event: Transient) -> None:
    """For calls whose output matters only when they fail."""


def _ear(
    hear: Callable[[bytes], Iterable[Transient | LockAwaited | Named]],
    watch: BuildWatch,
    emit: Emit,
    built: Callable[[Path], None],
) -> Callable[[bytes], None]:
    """Takes a line from cargo, and tells the watch and the world what it means."""

    def take(line: bytes) -> None:
        watch.heard()
        for event in hear(line):
            if isinstance(event, LockAwaited):
                seconds = watch.blocked()
                emit(Waiting(what=f"another cargo, which holds the {event.what}", seconds=seconds))
            elif isinstance(event, Named):
                built(event.path)
            else:
                emit(event)

    return take


def _failure(kind: Kind, cause: str, details: tuple[str, ...] = ()) -> Failure:
    return Failure(phase=State.BUILDING, kind=kind, cause=cause, details=details)


def _not_started(project_root: Path, refusal: NotStarted) -> Failure:
    if not project_root.is_dir():
        return _failure(Kind.MANIFEST_BROKEN, f"{clean(str(project_root))} is not a directory")
    return _failure(Kind.BUILD_FAILED, f"cargo could not be started: {refusal.reason}")


def _out_of_patience(verdict: Kind, patience: Patience, transcript: Transcript) -> Failure:
    if verdict is Kind.CARGO_LOCKED:
        cause = f"waited {patience.locked:.0f} s for the lock of another cargo"
    else:
        cause = f"cargo neither wrote nor computed anything for {patience.silent:.0f} s"
    return _failure(verdict, cause, transcript.tail)
