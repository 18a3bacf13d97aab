"""One tenant's project on disk, and the real command line that is started and killed in it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import anyio
from anyio.abc import Process

from deployer import history
from deployer.adapters.journal.lock import is_locked
from deployer.adapters.journal.reader import lock_path
from deployer.run import Builder, Run, RunRecord
from deployer.sandbox.options import TENANTS, Tenant
from tests.crash import cargo
from tests.crash.site import Site

ROOT: Final = Path(os.environ.get("CRASH_TREE", Path(__file__).parents[2]))  # whose deployer runs
DATABASE_PASSWORD: Final = "canary-of-the-database"
GONE_SECONDS: Final = 3.0  # after which nothing of an ended process may be left
_FILES: Final = {
    ".systemprompt/Dockerfile": (
        "FROM debian:bookworm-slim\n"
        "COPY target/release/systemprompt /app/\n"
        "COPY services/ /app/services/\n"
    ),
    "services/config.yaml": "tenant: {id}\n",
    ".systemprompt/tenants.json": '{{"tenants": [{{"id": "{id}", "name": "{id}", "app_id": "{app}"}}]}}',
    ".systemprompt/profiles/prod/profile.yaml": "target: cloud\ncloud:\n  tenant_id: {id}\n",
    "Cargo.toml": "[workspace]\nmembers = []\n",
    "core/Cargo.toml": '[package]\nname = "systemprompt"\nversion = "0.1.0"\n',
    "core/src/main.rs": "fn main() {{}} // of {id}\n",
    "extensions/mcp/none/manifest.yaml": (
        "extension: {{type: mcp, name: none, binary: none, enabled: false}}\n"
    ),
    ".gitignore": "target/\n",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How one process of the command line ended."""

    code: int  # negative: by that signal
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last thing that a person read."""
        return ([line for line in self.err.splitlines() if line.strip()] or [""])[-1]


@dataclass(slots=True)
class Child:
    """A command line that runs."""

    process: Process
    out: Path
    err: Path

    async def ended(self) -> Ended:
        """Wait for its end."""
        code = await self.process.wait()
        return Ended(code, self.out.read_text(), self.err.read_text())

    async def within(self, seconds: float) -> Ended | None:
        """Its end, if that comes in time."""
        with anyio.move_on_after(seconds):
            return await self.ended()
        return None

    def lines(self) -> int:
        """How many lines it has said so far."""
        return self.err.read_bytes().count(b"\n")

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> Ended:
        """Send it alone a signal, not its group, and wait for its end."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()


@dataclass(slots=True)
class Bench:
    """A project, its journal, and the site that it is deployed to."""

    folder: Path
    site: Site
    tenant: Tenant = TENANTS[0]
    builder: Builder = Builder.ENGINE
    state_dir: Path = field(init=False)
    environment: dict[str, str] = field(init=False)
    prefix: Sequence[str] = ()  # before the command: strace and the like
    module: str = "deployer"  # what is run
    searched: set[str] = field(default_factory=set)  # the registry's blobs that hold no secret
    _count: int = 0

    def __post_init__(self) -> None:
        self.state_dir = self.folder / "state"
        programs = self.folder / "bin"
        self.environment = {
            **self.site.environment,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "CARGO_CRASH_LOG": str(self.cargo_log),
            "DATABASE_URL": f"postgres://u:{DATABASE_PASSWORD}@127.0.0.1:1/x",
            "DEPLOYER_TENANT": self.tenant.id,
            "DEPLOYER_BUILDER": self.builder,
            "CI": "1",
        }

    @property
    def project(self) -> Path:
        """The project's root."""
        return self.folder / "project"

    @property
    def cargo_log(self) -> Path:
        """One line a build."""
        return self.folder / "cargo.log"

    async def furnish(self) -> None:
        """Write the project, its history and the stand-in cargo."""
        self.write_project()
        (self.folder / "tmp").mkdir(parents=True)
        self.install_stand_in()
        await self.commit("Start")

    def write_project(self) -> None:
        """Write the project's files as they were at first."""
        names = {"id": self.tenant.id, "app": self.tenant.app}
        for name, text in _FILES.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(**names))

    def install_stand_in(self) -> None:
        """Put the stand-in in front of PATH as cargo."""
        self.install_cargo(f'exec {sys.executable} -I -S {cargo.__file__} "$@"')

    def install_cargo(self, script: str) -> None:
        """Put a shell script in front of PATH as cargo."""
        program = self.folder / "bin" / "cargo"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    async def commit(self, subject: str) -> None:
        """Commit what is there."""
        git = [
            "git",
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.com",
            "-C",
            str(self.project),
        ]
        for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", subject, "--allow-empty")):
            await anyio.run_process([*git, *words], env=self.environment)

    async def start(self, *words: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start `deployer WORDS`."""
        self._count += 1
        out, err = (self.folder / f"{stream}.{self._count % 8}" for stream in ("out", "err"))
        argv = [*self.prefix, sys.executable, "-m", self.module, "--state-dir", str(self.state_dir)]
        with _fresh(out) as stdout, _fresh(err) as stderr:
            process = await anyio.open_process(
                [*argv, *words],
                cwd=self.project,
                env={**self.environment, **(environment or {})},
                stdin=None,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return Child(process, out, err)

    async def run(self, *words: str, environment: Mapping[str, str] | None = None) -> Ended:
        """Run `deployer WORDS` to its end."""
        return await (await self.start(*words, environment=environment)).ended()

    # -- What can be seen from outside.

    def records(self) -> tuple[RunRecord, ...]:
        """The tenant's runs, newest first."""
        return history.runs(self.state_dir, self.site.api_url, self.tenant.id, 1000)

    def newest(self) -> Run | None:
        """The tenant's newest run."""
        found = history.runs(self.state_dir, self.site.api_url, self.tenant.id, 1)
        return found[0].run if found else None

    def built(self) -> int:
        """How often cargo was asked to build."""
        return len(self.cargo_log.read_text().splitlines()) if self.cargo_log.exists() else 0

    def is_locked(self) -> bool:
        """Whether a process holds the tenant."""
        path = lock_path(self.state_dir, self.site.api_url, self.tenant.id)
        return path.exists() and is_locked(path)

    def end_all(self) -> None:
        """Leave nothing behind, however a test has ended: a build of minutes, or who stands still."""
        for line in processes_in(self.folder):
            with suppress(ProcessLookupError):
                os.kill(int(line.partition(" ")[0]), signal.SIGKILL)

    async def leftovers(self) -> list[str]:
        """The processes and containers of this bench that are still there after the grace."""

        def found() -> list[str]:
            return [*processes_in(self.folder), *self.site.containers()]

        await until(lambda: not found(), GONE_SECONDS)
        return found()


async def until(holds: Callable[[], bool], seconds: float, pause: float = 0.01) -> bool:
    """Wait until `holds`, in vain after so many seconds."""
    for _ in range(int(seconds / pause)):
        if holds():
            return True
        await anyio.sleep(pause)
    return holds()


def processes_in(folder: Path) -> Iterator[str]:
    """The processes that work in or on `folder`: number, command line, what each does just now."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            cwd = str((entry / "cwd").readlink())
            if words and (cwd.startswith(str(folder)) or str(folder) in words):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                yield f"{entry.name} {words} ({state}, in {(entry / 'wchan').read_text()})"


def _fresh(path: Path) -> IO[bytes]:
    return path.open("wb")
