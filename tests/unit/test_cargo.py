"""cargo as the deployer uses it: a real one where there is one, and stand-ins that misbehave."""

import asyncio  # noqa: TID251  # a host may cancel natively
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest

from deployer.adapters.cargo import hashing
from deployer.adapters.cargo.command import cargo_environment
from deployer.adapters.cargo.toolchain import Cargo
from deployer.adapters.cargo.watch import Look, Patience, free_space, oom_kills, worked
from deployer.adapters.process.session import Member
from deployer.events import OutputLine, Transient, Waiting, Warned
from deployer.failures import Failure, Kind
from deployer.model import Binary, Crate, Secret
from deployer.ports import Toolchain

pytestmark = pytest.mark.anyio

URL = Secret("postgres://app:pw@localhost/db")
CORE = Crate(name="core", manifest=Path("core/Cargo.toml"), binaries=("app",))
IMPATIENT = Patience(silent=0.3, locked=0.3, sample=0.02)
PATH = "/usr/bin:/bin"
real = pytest.mark.skipif(shutil.which("cargo") is None, reason="there is no cargo here")


def message(**fields: object) -> str:
    return json.dumps(fields)


def artifact(path: Path, name: str = "app", package: str = "app") -> str:
    return message(
        reason="compiler-artifact",
        package_id=f"path+file:///{package}#{package}@0.1.0",
        target={"kind": ["bin"], "name": name},
        executable=str(path),
    )


FINISHED = message(reason="build-finished", success=True)


def stand_in(folder: Path, script: str, patience: Patience | None = None) -> Toolchain:
    """A `cargo` that is this shell script."""
    program = folder / "bin" / "cargo"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{PATH}"}
    return Cargo(environment=environment, database_url=URL, patience=patience)


def says(*lines: str) -> str:
    return "\n".join(f"echo '{line}'" for line in lines)


def program(path: Path, content: bytes = b"\x7fELF and more") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def deaf(_event: Transient) -> None:
    """For builds whose events are another test's business."""


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110  # other processes tell of nothing
            await anyio.sleep(0.01)


def numbers(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def kind_of(toolchain: Toolchain, project: Path, crate: Crate = CORE) -> tuple[Kind, str]:
    found = await toolchain.build(project, [crate], deaf)
    assert isinstance(found, Failure), found
    return found.kind, found.cause


# -- what a build leaves


async def test_a_build_tells_what_it_made(project: Path, tmp_path: Path) -> None:
    path = program(project / "target/release/app")
    toolchain = stand_in(tmp_path, says(artifact(path), FINISHED))

    assert await toolchain.build(project, [CORE], deaf) == (
        Binary(
            name="app",
            path=path,
            size=13,
            sha256="34e6497864fc0e5ec64f4a81db57da43dbe70f2f5b08b9f904a1ad1d3255d091",
            package="app",
            manifest=Path("core/Cargo.toml"),
        ),
    )


async def test_what_is_being_read_when_cargo_ends_is_not_read_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read, times = program(project / "target/release/app"), hashing._sha256, list[float]()

    def slowly(file: BinaryIO) -> str:
        times.append(time.monotonic())
        time.sleep(0.5)
        return read(file)

    monkeypatch.setattr(hashing, "_sha256", slowly)
    toolchain = stand_in(tmp_path, f"{says(artifact(path), FINISHED)}\nsleep 0.3")

    assert not isinstance(await toolchain.build(project, [CORE], deaf), Failure)
    assert len(times) == 1


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (b"", 0o755, "it is empty"),
        (b"\x7fELF", 0o644, "it is not executable"),
        (b"#!/bin/sh\n", 0o755, "it is not a program (no ELF or Mach-O header)"),
    ],
)
async def test_a_binary_that_could_not_run_is_refused_though_cargo_is_content(
    project: Path, tmp_path: Path, content: bytes, mode: int, why: str
) -> None:
    path = program(project / "target/release/app", content)
    path.chmod(mode)
    toolchain = stand_in(tmp_path, says(artifact(path), FINISHED))

    kind, cause = await kind_of(toolchain, project)

    assert kind is Kind.BINARY_UNUSABLE
    assert cause == f"cargo built {path}, but {why}"


@pytest.mark.parametrize("what", ["nothing", "pipe", "folder"])
async def test_what_is_no_file_is_refused_without_hanging(
    project: Path, tmp_path: Path, what: str
) -> None:
    path = project / "target/release/app"
    path.parent.mkdir(parents=True)
    {"nothing": lambda _: None, "pipe": os.mkfifo, "folder": os.mkdir}[what](path)
    toolchain = stand_in(tmp_path, says(artifact(path), FINISHED))

    with anyio.fail_after(5):
        kind, _ = await kind_of(toolchain, project)

    assert kind is Kind.BINARY_UNUSABLE


async def test_a_binary_that_was_wanted_and_not_built_is_named(
    project: Path, tmp_path: Path
) -> None:
    path = program(project / "target/release/other")
    toolchain = stand_in(tmp_path, says(artifact(path, "other"), FINISHED))

    assert await kind_of(toolchain, project) == (
        Kind.BINARY_UNUSABLE,
        "cargo built the crate core, but no binary app",
    )


async def test_a_path_outside_target_is_not_believed(project: Path, tmp_path: Path) -> None:
    path = program(project / "target/release/app")
    outside = program(tmp_path / "elsewhere/app")
    path.unlink()
    path.symlink_to(outside)
    toolchain = stand_in(tmp_path, says(artifact(path), FINISHED))

    kind, cause = await kind_of(toolchain, project)

    assert (kind, cause) == (Kind.BINARY_UNUSABLE, f"{path} lies outside {project / 'target'}")


async def test_two_packages_that_write_one_file_are_found_out(
    project: Path, tmp_path: Path
) -> None:
    path = program(project / "target/release/app")
    toolchain = stand_in(
        tmp_path, says(artifact(path), artifact(path, package="intruder"), FINISHED)
    )

    assert await kind_of(toolchain, project) == (
        Kind.MANIFEST_BROKEN,
        "app is built by several packages: app, intruder",
    )


async def test_a_build_for_an_explicit_target_is_a_warning(project: Path, tmp_path: Path) -> None:
    path = program(project / "target/x86_64-unknown-linux-gnu/release/app")
    toolchain = stand_in(tmp_path, says(artifact(path), FINISHED))
    events: list[Transient] = []

    await toolchain.build(project, [CORE], events.append)

    assert [event.text for event in events if isinstance(event, Warned)] == [
        "cargo left app in target/x86_64-unknown-linux-gnu/release/app: "
        "the Dockerfile must copy it from there"
    ]


async def test_an_end_without_a_word_of_success_is_no_success(
    project: Path, tmp_path: Path
) -> None:
    path = program(project / "target/release/app")

    kind, _ = await kind_of(stand_in(tmp_path, says(artifact(path))), project)

    assert kind is Kind.BUILD_FAILED


async def test_the_first_crate_that_fails_ends_the_build(project: Path, tmp_path: Path) -> None:
    toolchain = stand_in(tmp_path, "echo x >>calls; echo 'error: no' >&2; exit 101")

    await toolchain.build(project, [CORE, CORE], deaf)

    assert (project / "calls").read_text() == "x\n"


async def test_damaged_binaries_are_found(project: Path, tmp_path: Path) -> None:
    paths = [program(project / "target/release" / name) for name in ("a", "b", "c", "d")]
    lines = [artifact(path, path.name, path.name) for path in paths]
    crate = Crate(name="all", package="all")
    built = await stand_in(tmp_path, says(*lines, FINISHED)).build(project, [crate], deaf)
    assert isinstance(built, tuple)

    paths[1].write_bytes(b"\x7fELF and moro")
    paths[2].write_bytes(b"")
    paths[3].unlink()

    assert await stand_in(tmp_path, "").damaged(built) == built[1:]


# -- how cargo is called


async def test_cargo_is_called_in_the_project_with_the_root_s_target(
    project: Path, tmp_path: Path
) -> None:
    toolchain = stand_in(tmp_path, 'pwd >>calls; echo "$@" >>calls; exit 1')

    await toolchain.build(project, [CORE], deaf)
    await toolchain.build(project, [Crate(name="t", package="tools")], deaf)

    common = f"build --release --message-format=json --target-dir={project}/target"
    assert (project / "calls").read_text().splitlines() == [
        str(project),
        f"{common} --manifest-path=core/Cargo.toml",
        str(project),
        f"{common} -p tools",
    ]


def test_cargo_gets_what_a_build_needs_and_no_tokens() -> None:
    environment = {
        "PATH": "/usr/bin::bin:.:/bin",
        "HOME": "/home/me",
        "LC_ALL": "C",
        "CARGO_HOME": "/c",
        "CARGO_TARGET_DIR": "/elsewhere",
        "CARGO_REGISTRY_TOKEN": "t",
        "CARGO_REGISTRIES_MINE_TOKEN": "t",
        "CARGO_TERM_QUIET": "true",
        "DATABASE_URL": "another",
        "SYSTEMPROMPT_API_TOKEN": "t",
        "DOCKER_AUTH_CONFIG": "t",
        "GITHUB_TOKEN": "t",
        "MAKEFLAGS": "-j8 --jobserver-auth=3,4",
        "https_proxy": "http://proxy",
    }

    assert cargo_environment(environment, URL, sqlx_offline=False) == {
        "PATH": "/usr/bin:/bin",
        "HOME": "/home/me",
        "LC_ALL": "C",
        "CARGO_HOME": "/c",
        "CARGO_TERM_COLOR": "never",
        "CARGO_TERM_PROGRESS_WHEN": "always",
        "CARGO_TERM_PROGRESS_WIDTH": "80",
        "CARGO_TERM_QUIET": "false",
        "CARGO_TERM_VERBOSE": "false",
        "https_proxy": "http://proxy",
        "DATABASE_URL": URL.reveal(),
    }


def test_offline_queries_need_no_database() -> None:
    assert cargo_environment({"PATH": ""}, None, sqlx_offline=True).keys() >= {"SQLX_OFFLINE"}
    assert "DATABASE_URL" not in cargo_environment({"PATH": ""}, None, sqlx_offline=True)


async def test_no_secret_is_on_a_command_line(project: Path, tmp_path: Path) -> None:
    toolchain = stand_in(tmp_path, "cat /proc/$$/cmdline /proc/$PPID/cmdline >seen; exit 1")

    await toolchain.build(project, [CORE], deaf)

    assert b"build" in (project / "seen").read_bytes()
    assert b"pw@" not in (project / "seen").read_bytes()


async def test_a_cargo_that_lies_in_the_project_is_never_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(project / "cargo", b"#!/bin/sh\ntouch sprung\n")
    monkeypatch.chdir(project)
    toolchain = Cargo(environment={"PATH": f"::.:{project}/none"}, database_url=URL)

    kind, cause = await kind_of(toolchain, project)

    assert (kind, cause) == (Kind.CARGO_MISSING, "no program `cargo` on PATH")
    assert not (project / "sprung").exists()


async def test_a_project_that_is_gone_is_told(project: Path, tmp_path: Path) -> None:
    toolchain = stand_in(tmp_path, "true")

    assert await kind_of(toolchain, project / "gone") == (
        Kind.MANIFEST_BROKEN,
        f"{project}/gone is not a directory",
    )


# -- the check before


def test_without_a_database_or_the_offline_cache_no_query_can_be_checked() -> None:
    found = Cargo(environment={}, database_url=None).queries()

    assert isinstance(found, Failure)
    assert found.kind is Kind.DATABASE_URL_MISSING


async def test_check_wants_a_cargo(project: Path) -> None:
    offline = Cargo(environment={}, database_url=None, sqlx_offline=True)

    found = await offline.check(project)

    assert isinstance(found, Failure)
    assert found.kind is Kind.CARGO_MISSING


async def test_check_tells_the_version(project: Path, tmp_path: Path) -> None:
    toolchain = stand_in(tmp_path, "echo 'cargo 1.95.0-nightly (f2d3ce0bd 2026-03-21)'")

    assert await toolchain.check(project) == "1.95.0-nightly"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo hello", Kind.CARGO_MISSING),
        ("echo \"error: toolchain 'x' is not installed\" >&2; exit 1", Kind.TOOLCHAIN_MISSING),
        ("exit 3", Kind.BUILD_FAILED),
    ],
)
async def test_check_names_what_is_wrong(
    project: Path, tmp_path: Path, script: str, kind: Kind
) -> None:
    found = await stand_in(tmp_path, script).check(project)

    assert isinstance(found, Failure)
    assert found.kind is kind


# -- cargos that stand still


async def test_a_cargo_that_neither_writes_nor_works_is_ended(
    project: Path, tmp_path: Path
) -> None:
    toolchain = stand_in(tmp_path, "echo hello; exec sleep 60", IMPATIENT)

    with anyio.fail_after(5):
        found = await toolchain.build(project, [CORE], deaf)

    assert isinstance(found, Failure)
    assert found.kind is Kind.BUILD_STALLED
    assert found.details == ("hello",)


async def test_a_cargo_that_works_in_silence_is_left_alone(project: Path, tmp_path: Path) -> None:
    busy = "timeout 1.5 sh -c 'while :; do :; done'; echo 'error: done' >&2; exit 101"
    # Long enough for a look at all of /proc on a machine that is busy itself.
    patience = replace(IMPATIENT, silent=1.0)

    kind, cause = await kind_of(stand_in(tmp_path, busy, patience), project)

    assert (kind, cause) == (Kind.BUILD_FAILED, "error: done")


async def test_a_lock_that_is_never_freed_is_waited_for_so_long(
    project: Path, tmp_path: Path
) -> None:
    blocked = "echo '    Blocking waiting for file lock on artifact directory' >&2; exec sleep 60"
    events: list[Transient] = []

    with anyio.fail_after(5):
        found = await stand_in(tmp_path, blocked, IMPATIENT).build(project, [CORE], events.append)

    assert isinstance(found, Failure)
    assert found.kind is Kind.CARGO_LOCKED
    assert Waiting(what="another cargo, which holds the artifact directory", seconds=0.3) in events


async def test_waiting_for_locks_counts_over_all_crates(project: Path, tmp_path: Path) -> None:
    path = program(project / "target/release/app")
    blocked = "echo '    Blocking waiting for file lock on artifact directory' >&2; sleep 0.2\n"
    toolchain = stand_in(tmp_path, blocked + says(artifact(path), FINISHED), IMPATIENT)

    found = await toolchain.build(project, [CORE, CORE, CORE], deaf)

    assert isinstance(found, Failure)
    assert found.kind is Kind.CARGO_LOCKED


@pytest.mark.parametrize(
    ("patience", "does"),
    [
        (
            Patience(locked=0.5, sample=0.02),
            "echo '    Blocking waiting for file lock on artifact directory' >&2; sleep 0.3\n"
            f"{says(message(reason='x'))}; sleep 1.5",
        ),
        (
            Patience(silent=0.8, sample=0.02),
            "i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done",
        ),
    ],
    ids=["had the lock", "computed"],
)
async def test_what_cargo_did_while_we_stood_still_is_not_held_against_it(
    project: Path, tmp_path: Path, patience: Patience, does: str
) -> None:
    path = program(project / "target/release/app")
    script = f"{does}\n" + says(artifact(path), FINISHED)

    async def stand_still() -> None:
        await anyio.sleep(0.2)
        time.sleep(1.2)  # noqa: ASYNC251  # as SIGSTOP does

    async with anyio.create_task_group() as beside:
        beside.start_soon(stand_still)
        built = await stand_in(tmp_path, script, patience).build(project, [CORE], deaf)

    assert not isinstance(built, Failure), built


@pytest.mark.parametrize(
    ("cpu", "seconds", "alive"), [(0.0, 10.0, False), (0.05, 10.0, False), (0.2, 10.0, True)]
)
def test_a_session_works_if_it_uses_a_hundredth_of_a_core(
    cpu: float, seconds: float, alive: bool
) -> None:
    before = Look(0.0, frozenset({Member(1, 1.0), Member(2, 1.0)}))
    after = Look(seconds, frozenset({Member(1, 1.0), Member(2, 1.0 + cpu)}))

    assert worked(before, after) is alive


def test_a_session_whose_processes_change_works() -> None:
    assert worked(Look(0.0, frozenset({Member(1, 1.0)})), Look(9.0, frozenset({Member(2, 1.0)})))


def test_where_nobody_can_see_the_session_it_is_taken_to_work() -> None:
    assert worked(Look(0.0, frozenset()), Look(9.0, frozenset()))


def test_the_system_is_read(tmp_path: Path) -> None:
    assert free_space(tmp_path / "target") == free_space(tmp_path) > 0
    assert oom_kills() >= 0


# -- cancelled


async def test_cancelled_builds_leave_nothing_alive(project: Path, tmp_path: Path) -> None:
    pids = project / "pids"
    script = f"echo $$ >>{pids}; sh -c 'trap \"\" TERM; echo $$ >>{pids}; sleep 60'"
    async with anyio.create_task_group() as group:
        group.start_soon(stand_in(tmp_path, script).build, project, [CORE], deaf)
        await until(lambda: len(numbers(pids)) == 2)

        began = time.monotonic()
        group.cancel_scope.cancel()

    assert time.monotonic() - began < 1
    assert not any(alive(pid) for pid in numbers(pids))


async def test_natively_cancelled_builds_leave_nothing_alive(project: Path, tmp_path: Path) -> None:
    pids = project / "pids"
    toolchain = stand_in(tmp_path, f"echo $$ >>{pids}; exec sleep 60")
    task = asyncio.ensure_future(toolchain.build(project, [CORE], deaf))
    await until(lambda: len(numbers(pids)) == 1)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not any(alive(pid) for pid in numbers(pids))


# -- the real one


@pytest.fixture
def workspace(project: Path) -> Path:
    for folder in ("core", "tools"):
        source = project / folder / "src" / "main.rs"
        source.parent.mkdir(parents=True)
        source.write_text(f'fn main() {{ println!("{folder}"); }}\n')
        (project / folder / "Cargo.toml").write_text(
            f'[package]\nname = "{folder}"\nversion = "0.1.0"\nedition = "2021"\n'
        )
    (project / "Cargo.toml").write_text(
        '[workspace]\nresolver = "2"\nmembers = ["tools"]\nexclude = ["core"]\n'
    )
    return project


@real
async def test_a_real_cargo_builds_damages_are_found_and_repaired(workspace: Path) -> None:
    toolchain = Cargo(environment=os.environ, database_url=URL)
    crates = (
        Crate(name="core", manifest=Path("core/Cargo.toml"), binaries=("core",)),
        Crate(name="tools", package="tools"),
    )
    events: list[Transient] = []

    built = await toolchain.build(workspace, crates, events.append)

    assert isinstance(built, tuple), built
    assert [each.path for each in built] == [
        workspace / "target/release/core",
        workspace / "target/release/tools",
    ]
    shown = [event.text for event in events if isinstance(event, OutputLine)]
    assert f"Compiling core v0.1.0 ({workspace}/core)" in shown

    os.truncate(built[0].path, 0)
    assert await toolchain.damaged(built) == built[:1]
    again = await toolchain.build(workspace, crates, deaf)
    assert isinstance(again, Failure)
    assert again.kind is Kind.BINARY_UNUSABLE

    assert await toolchain.clean(workspace, built[:1]) is None
    assert await toolchain.build(workspace, crates, deaf) == built


@real
async def test_a_real_compile_error_is_shown_and_named(workspace: Path) -> None:
    (workspace / "tools/src/main.rs").write_text('fn main() { let x: u32 = "a"; }\n')
    toolchain = Cargo(environment=os.environ, database_url=URL)

    found = await toolchain.build(workspace, [Crate(name="tools", package="tools")], deaf)

    assert isinstance(found, Failure)
    assert found.kind is Kind.COMPILE_ERROR
    assert found.cause == "error[E0308]: mismatched types (tools/src/main.rs:1:26)"
    assert "error[E0308]: mismatched types" in found.details


@real
async def test_a_real_cargo_can_be_asked_for_its_version(workspace: Path) -> None:
    found = await Cargo(environment=os.environ, database_url=URL).check(workspace)

    assert isinstance(found, str)
    assert found[0].isdecimal()


@real
async def test_cleaning_what_no_crate_builds_is_a_failure(workspace: Path) -> None:
    gone = Binary(name="x", path=workspace / "x", size=1, sha256="0" * 64, package="nosuch")

    found = await Cargo(environment=os.environ, database_url=URL).clean(workspace, [gone])

    assert isinstance(found, Failure)
    assert found.kind is Kind.NO_SUCH_PACKAGE
