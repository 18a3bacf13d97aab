"""Every way in which a real cargo fails, brought about."""

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from deployer.adapters.cargo.toolchain import Cargo
from deployer.adapters.cargo.watch import Patience
from deployer.adapters.leaks import Leaks
from deployer.events import Transient
from deployer.failures import Failure
from deployer.model import Crate, Secret
from tests.real.disks import small_disk

pytestmark = [pytest.mark.real, pytest.mark.anyio]

URL = Secret("postgres://app:canary-password-1@127.0.0.1:1/app")
CRATE = Crate(name="core", manifest=Path("core/Cargo.toml"), binaries=("app",))
MANIFEST = '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'
MAIN = 'fn main() { println!("hello"); }\n'
WORKS = "fn main() {}\n"


def deaf(_event: Transient) -> None:
    pass


@dataclass
class Project:
    """One small crate, and a cargo to compile it with."""

    root: Path
    crate: Crate = CRATE
    database_url: Secret | None = URL
    path: str = os.environ["PATH"]
    patience: Patience | None = None

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def wrap(self, script: str) -> None:
        """Put a script in rustc's place that may do something else first."""
        self.write("wrapper", f'#!/bin/sh\n{script}\nexec "$@"\n', 0o755)
        self.configure(f'[build]\nrustc-wrapper = "{self.root}/wrapper"\n')

    def configure(self, text: str) -> None:
        self.write(".cargo/config.toml", text)

    async def build(self) -> object:
        cargo = Cargo(
            environment={**os.environ, "PATH": self.path, "CARGO_NET_OFFLINE": "true"},
            database_url=self.database_url,
            patience=self.patience,
            leaks=Leaks([URL]),
        )
        return await cargo.build(self.root, [self.crate], deaf)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.write("core/Cargo.toml", MANIFEST)
    made.write("core/src/main.rs", MAIN)
    return made


Provoked = Callable[[str, object], None]
Spoil = Callable[[Project], object]


def source(text: str) -> Spoil:
    return lambda project: project.write("core/src/main.rs", text)


def without_url(project: Project) -> None:
    project.database_url = None
    project.write("core/src/main.rs", MAIN + 'const _U: &str = env!("DATABASE_URL");\n')


def build_script(text: str) -> Spoil:
    return lambda project: project.write("core/build.rs", f"fn main() {{ {text} }}\n")


def script_without_url(project: Project) -> None:
    project.database_url = None
    build_script('std::env::var("DATABASE_URL").expect("DATABASE_URL must be set");')(project)


def no_manifest(project: Project) -> None:
    (project.root / "core/Cargo.toml").unlink()


def manifest(text: str) -> Spoil:
    return lambda project: project.write("core/Cargo.toml", text)


def other_package(project: Project) -> None:
    no_manifest(project)
    project.write("Cargo.toml", '[workspace]\nmembers = ["a"]\nresolver = "2"\n')
    project.write("a/Cargo.toml", MANIFEST)
    project.write("a/src/main.rs", WORKS)
    project.crate = Crate(name="tools", package="no-such-package", binaries=("tools",))


def no_cargo(project: Project) -> None:
    project.path = "/nonexistent"


def no_toolchain(project: Project) -> None:
    project.write("core/Cargo.toml", MANIFEST + 'rust-version = "1.999"\n')


def no_rustc(project: Project) -> None:
    project.configure('[build]\nrustc = "/nonexistent/rustc"\n')


def undefined_symbol(project: Project) -> None:
    text = (
        'extern "C" { fn nowhere_to_be_found(); }\nfn main() { unsafe { nowhere_to_be_found() } }\n'
    )
    project.write("core/src/main.rs", text)


def no_linker(project: Project) -> None:
    project.configure('[build]\nrustflags = ["-Clinker=no-such-linker"]\n')


def wants_another_binary(project: Project) -> None:
    project.crate = Crate(name="core", manifest=Path("core/Cargo.toml"), binaries=("other",))


def killed_rustc(project: Project) -> None:
    project.wrap('case "$*" in *--crate-name*app*) kill -9 $$ ;; esac')


def hangs(project: Project) -> None:
    project.patience = Patience(silent=0.6, sample=0.05)
    build_script("std::thread::sleep(std::time::Duration::from_secs(600));")(project)


def leaky(project: Project) -> None:
    project.write("core/src/main.rs", 'fn main() { println!("{}", env!("DATABASE_URL")); }\n')


def leaky_script(project: Project) -> None:
    text = r'println!("cargo:rustc-env=DB={}", std::env::var("DATABASE_URL").unwrap());'
    build_script(text)(project)
    project.write("core/src/main.rs", 'fn main() { println!("{}", env!("DB")); }\n')


@pytest.mark.parametrize(
    ("failure_id", "spoil"),
    [
        ("B01", source("fn main() { let _: u32 = \"text\"; }\n")),
        ("B01", source('compile_error!("not for this platform");\nfn main() {}\n')),
        ("B01", source("fn main() {\n")),
        ("B02", without_url),
        ("B02", script_without_url),
        ("B02", source('compile_error!("set `DATABASE_URL` to use query macros online");\nfn main() {}\n')),
        ("B03", no_manifest),
        ("B03", manifest("[package\n")),
        ("B03", manifest('[package]\nversion = "1"\n')),
        ("B04", other_package),
        ("B05", no_cargo),
        ("B06", no_toolchain),
        ("B06", no_rustc),
        ("B07", manifest(MANIFEST + '[dependencies]\nno-such-crate-at-all = "1"\n')),
        ("B08", lambda project: project.write("core/Cargo.lock", "not a lock file")),
        ("B09", no_linker),
        ("B09", undefined_symbol),
        ("B11", killed_rustc),
        ("B12", wants_another_binary),
        ("B13", build_script('std::process::Command::new("sh").args(["-c", "read _ _ _ cargo _ </proc/$PPID/stat; kill -9 $cargo"]).status().unwrap();')),
        ("B16", hangs),
        ("B17", leaky),
        ("B17", leaky_script),
        ("B00", build_script("std::process::exit(3);")),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)  # fmt: skip
async def test_a_real_build_fails_as_the_catalogue_says(
    project: Project, provoked: Provoked, failure_id: str, spoil: Spoil
) -> None:
    spoil(project)

    found = await project.build()

    provoked(failure_id, found)
    assert "canary-password" not in found.cause  # type: ignore[attr-defined]


async def test_another_cargo_that_keeps_the_lock_is_not_waited_for_without_end(
    project: Project, provoked: Provoked
) -> None:
    assert not isinstance(await project.build(), Failure)
    project.patience = Patience(locked=0.3, sample=0.05)
    source(WORKS)(project)
    lock = os.open(project.root / "target/release/.cargo-lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = await project.build()
    finally:
        os.close(lock)

    provoked("B14", found)


@pytest.fixture
def full_target(project: Project) -> Iterator[Path]:
    with small_disk(project.root / "target", "300k") as target:
        yield target


async def test_a_disk_that_is_full_is_told_as_that(
    project: Project, full_target: Path, provoked: Provoked
) -> None:
    provoked("B10", await project.build())


async def test_a_cancelled_build_leaves_no_process(
    project: Project, seen: Callable[[str], None]
) -> None:
    began = project.root / "began"
    build_script(
        f'std::fs::write("{began}", std::process::id().to_string()).unwrap();'
        "std::thread::sleep(std::time::Duration::from_secs(600));"
    )(project)
    async with anyio.create_task_group() as group:
        group.start_soon(project.build)
        with anyio.fail_after(30):
            while not (pid := _number(began)):  # noqa: ASYNC110  # a build script tells nobody
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()

    assert not _is_alive(pid)
    seen("B15")


def _number(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _is_alive(pid: str) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


async def test_after_a_killed_compiler_the_next_try_needs_less_memory(project: Project) -> None:
    project.wrap('[ "$CARGO_BUILD_JOBS" = 1 ] || kill -9 $$')
    cargo = Cargo(environment=os.environ, database_url=URL)

    first = await cargo.build(project.root, [CRATE], deaf)
    second = await cargo.build(project.root, [CRATE], deaf)

    assert isinstance(first, Failure)
    assert first.id == "B11"
    assert not isinstance(second, Failure), second
