"""The sample project, written with real git."""

import json
import os
import re
from pathlib import Path

import anyio
import pytest

from deployer.sandbox.options import TENANTS
from deployer.sandbox.refusal import Refused
from deployer.sandbox.workspace import VERSION_FILE, commit, set_version, sign_in, write_workspace

pytestmark = pytest.mark.anyio


async def git(project: Path, *words: str) -> str:
    done = await anyio.run_process(["git", "-C", str(project), *words])
    return done.stdout.decode().strip()


async def test_the_project_is_a_clean_repository_with_one_commit(tmp_path: Path) -> None:
    project = tmp_path / "project"
    await write_workspace(project, None, os.environ)

    assert await git(project, "status", "--porcelain") == ""
    assert await git(project, "log", "--format=%an %s") == "Sandbox Start"


async def test_all_that_the_dockerfile_copies_is_there_but_what_cargo_makes(tmp_path: Path) -> None:
    await write_workspace(tmp_path / "p", None, os.environ)
    dockerfile = (tmp_path / "p/.systemprompt/Dockerfile").read_text()

    sources = re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE)
    made = {each for each in sources if each.startswith("target/release/")}

    assert len(made) == 4
    assert [
        each for each in sources if each not in made and not (tmp_path / "p" / each).exists()
    ] == []
    assert (tmp_path / "p/core/web/dist/index.html").exists()


async def test_a_login_is_private_and_stays_out_of_git(tmp_path: Path) -> None:
    await write_workspace(tmp_path / "p", None, os.environ)

    sign_in(tmp_path / "p", "http://127.0.0.1:1", "the-token")

    file = tmp_path / "p/.systemprompt/credentials.json"
    assert json.loads(file.read_text())["api_token"] == "the-token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert await git(tmp_path / "p", "status", "--porcelain") == ""


async def test_a_new_version_is_one_changed_line(tmp_path: Path) -> None:
    await write_workspace(tmp_path / "p", None, os.environ)

    set_version(tmp_path / "p", "2.0.0")
    await commit(tmp_path / "p", "Answer as 2.0.0", os.environ)

    assert await git(tmp_path / "p", "diff", "--numstat", "HEAD~1") == f"1\t1\t{VERSION_FILE}"


async def test_the_profiles_tenant_is_one_that_the_sandbox_knows(tmp_path: Path) -> None:
    await write_workspace(tmp_path / "p", None, os.environ)
    state = tmp_path / "p/.systemprompt"

    tenants = json.loads((state / "tenants.json").read_text())["tenants"]
    apps = {each["id"]: each["app_id"] for each in tenants if each["tenant_type"] == "cloud"}

    assert apps == {tenant.id: tenant.app for tenant in TENANTS}
    assert f"tenant_id: {TENANTS[0].id}" in (state / "profiles/prod/profile.yaml").read_text()


async def test_a_folder_that_is_in_use_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")

    with pytest.raises(Refused, match="not empty"):
        await write_workspace(tmp_path, None, os.environ)

    assert os.listdir(tmp_path) == ["mine"]  # noqa: PTH208
