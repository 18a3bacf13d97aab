"""git, asked about real repositories."""

import os
import time
from pathlib import Path
from subprocess import run  # noqa: TID251  # to make the repositories; the adapter is what is tested

import pytest

from deployer.adapters.git import Changes, Git

pytestmark = pytest.mark.anyio

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "file",
}


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    ended = run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def repository(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q")
    (folder / "a.txt").write_text("a\n")
    (folder / "b.bin").write_bytes(bytes(range(256)))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return repository(tmp_path / "project")


def started(file: Path) -> list[str]:
    return file.read_text().split()


def lives(pid: str) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists()


async def fingerprint(folder: Path) -> str:
    return (await Git(ENVIRONMENT).revision(folder)).fingerprint


async def test_a_clean_project_stands_at_its_commit(project: Path) -> None:
    revision = await Git(ENVIRONMENT).revision(project)

    assert revision.short_sha == git(project, "rev-parse", "--short", "HEAD")
    assert not revision.dirty
    assert revision.fingerprint == await fingerprint(project)


async def test_the_project_counts_and_not_the_current_directory(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")

    revision = await Git(ENVIRONMENT).revision(project)

    assert revision.short_sha == git(project, "rev-parse", "--short", "HEAD")


@pytest.mark.parametrize(
    ("file", "content"), [("a.txt", b"b\n"), ("b.bin", bytes(256)), ("new.txt", b"new")]
)
async def test_each_change_is_another_fingerprint(project: Path, file: str, content: bytes) -> None:
    seen = {await fingerprint(project)}

    for version in (content, content + b"2\0"):
        (project / file).write_bytes(version)
        revision = await Git(ENVIRONMENT).revision(project)
        assert revision.dirty
        seen.add(revision.fingerprint)

    assert len(seen) == 3


async def test_a_new_commit_is_another_fingerprint(project: Path) -> None:
    before = await fingerprint(project)

    git(project, "commit", "-qm", "second", "--allow-empty")

    assert await fingerprint(project) != before


async def test_a_file_that_was_only_touched_changes_nothing(project: Path) -> None:
    before = await fingerprint(project)

    os.utime(project / "a.txt", (1, 1))

    assert await fingerprint(project) == before


async def test_what_building_makes_changes_nothing(project: Path) -> None:
    before = await fingerprint(project)

    (project / "target").mkdir()
    (project / "target" / "out").write_text("x")

    assert await fingerprint(project) == before
    assert not (await Git(ENVIRONMENT).revision(project)).dirty


async def test_changes_inside_a_submodule_are_told_apart(project: Path, tmp_path: Path) -> None:
    core = repository(tmp_path / "core")
    git(project, "submodule", "--quiet", "add", str(core), "core")
    git(project, "commit", "-qm", "core")
    seen = {await fingerprint(project)}

    for content in ("one", "two"):
        (project / "core" / "a.txt").write_text(content)
        seen.add(await fingerprint(project))
    (project / "core" / "new").write_text("x")
    seen.add(await fingerprint(project))

    assert len(seen) == 4


@pytest.mark.parametrize("where", ["outside", "empty", "untracked"])
async def test_without_a_commit_two_looks_never_agree(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    if where == "empty":
        git(folder, "init", "-q")
    if where == "untracked":
        repository(tmp_path)

    first, second = [await Git(ENVIRONMENT).revision(folder) for _ in range(2)]

    assert first.short_sha == second.short_sha == "unknown"
    assert first.why_unknown
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize("path", ["", "/nowhere", ".:bin"])
async def test_a_git_that_is_missing_or_lies_in_the_project_is_not_run(
    project: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = project / "git"
    program.write_text("#!/bin/sh\necho abcdef0\n")
    program.chmod(0o755)
    monkeypatch.chdir(project)

    revision = await Git({"PATH": path}).revision(project)

    assert revision.short_sha == "unknown"


async def test_a_hook_s_environment_does_not_lead_to_another_repository(
    project: Path, tmp_path: Path
) -> None:
    other = repository(tmp_path / "other")
    environment = ENVIRONMENT | {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other)}
    (project / "a.txt").write_text("changed")

    assert (await Git(environment).revision(project)).dirty


async def test_programs_that_the_repository_names_are_not_run(project: Path) -> None:
    trap = project.parent / "trap"
    trap.write_text("#!/bin/sh\ntouch $(dirname $0)/sprung\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "diff.external", "core.pager", "diff.x.textconv"):
        git(project, "config", key, str(trap))
    (project / ".git" / "info" / "attributes").write_text("* diff=x\n")
    (project / "a.txt").write_text("changed")

    await Git(ENVIRONMENT).revision(project)

    assert not (project.parent / "sprung").exists()


async def test_a_git_that_hangs_is_given_up_and_ended(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/pids\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr("deployer.adapters.git.SECONDS", 0.3)

    began = time.monotonic()
    revision = await Git({"PATH": f"{tmp_path}:/bin:/usr/bin"}).revision(project)

    assert revision.short_sha == "unknown"
    assert "did not answer" in (revision.why_unknown or "")
    assert time.monotonic() - began < 2
    assert started(tmp_path / "pids")
    assert not any(lives(pid) for pid in started(tmp_path / "pids"))


async def test_an_answer_that_is_no_commit_is_not_believed(project: Path, tmp_path: Path) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\necho yes\n")
    program.chmod(0o755)

    revision = await Git({"PATH": str(tmp_path)}).revision(project)

    assert revision.short_sha == "unknown"


async def test_a_project_in_a_folder_with_a_strange_name_is_found(tmp_path: Path) -> None:
    folder = repository(tmp_path / "a\nb '")
    (folder / "new").write_text("x")

    assert (await Git(ENVIRONMENT).revision(folder)).dirty


def test_a_path_with_spaces_and_newlines_stays_one_path() -> None:
    changes = Changes.parse(b"? a b\nc\x001 .M S.M. 160000 160000 160000 x y sub dir\0")

    assert changes.untracked == (b"a b\nc",)
    assert list(changes.dirty_submodules) == [b"sub dir"]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'fatal: detected dubious ownership' >&2; echo 'To add' >&2; exit 128", "dubious"),
        ("exit 1", "without a word"),
        ("echo yes", "none of git's"),
    ],
)
async def test_git_s_own_reason_is_kept(tmp_path: Path, script: str, why: str) -> None:
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)

    revision = await Git({"PATH": f"{tmp_path}:/bin:/usr/bin"}).revision(tmp_path)

    assert why in (revision.why_unknown or "")
    assert "\n" not in (revision.why_unknown or "")
