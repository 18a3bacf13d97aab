"""Unpacking with real packages, made on the spot; nothing is fetched."""

import os
import shutil
from pathlib import Path

import anyio
import pytest

from deployer.sandbox import base_image
from deployer.sandbox.options import Options
from deployer.sandbox.packages import Apt
from deployer.sandbox.programs import Programs, ensure_on_system
from deployer.sandbox.refusal import Refused

pytestmark = pytest.mark.anyio
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="not a Debian")


async def package(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A package with these files; a value that begins with `->` makes a link."""
    tree = folder / f"{name}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n"
    (tree / "DEBIAN/control").write_text(control)
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
    archive = folder / f"{name}_1_all.deb"
    await anyio.run_process(["dpkg-deb", "--build", "--root-owner-group", str(tree), str(archive)])
    return archive


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@needs_dpkg
async def test_packages_from_before_and_after_the_usr_merge_meet_in_one_folder(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    base_image._merge_usr(root)
    for archive in (
        await package(tmp_path, "before", {"bin/old": "old"}),
        await package(tmp_path, "after", {"usr/bin/new": "new"}),
    ):
        await base_image._unpack(archive, root)

    base_image._finish(root)

    assert (root / "bin").is_symlink()
    assert names(root / "usr/bin") == ["new", "old", "sh"]
    assert (root / "bin/sh").readlink() == Path("dash")
    assert (root / "etc/passwd").read_text().startswith("root:x:0:0:")


@needs_dpkg
async def test_the_c_library_of_a_package_is_not_unpacked_for_programs(tmp_path: Path) -> None:
    archives = [
        await package(tmp_path, "libc6", {"lib/libc.so.6": "another build"}),
        await package(tmp_path, "dockerd", {"usr/sbin/dockerd": ""}),
    ]

    await Apt(os.environ).unpack(archives, tmp_path / "root")

    assert not (tmp_path / "root/lib").exists()
    assert (tmp_path / "root/usr/sbin/dockerd").exists()


async def test_a_program_on_path_is_used_and_gets_none_of_the_shells_secrets(
    tmp_path: Path,
) -> None:
    (tmp_path / "dockerd").write_text("#!/bin/sh\n")
    (tmp_path / "dockerd").chmod(0o755)
    environ = {"PATH": str(tmp_path), "HOME": "/h", "AWS_SECRET_ACCESS_KEY": "s"}
    options = Options(cache=tmp_path, folder=tmp_path, environ=environ, faults={})
    said: list[str] = []

    found = await Programs(options, said.append).dockerd()

    assert found.path == str(tmp_path / "dockerd")
    assert found.env == {"HOME": "/h", "PATH": f"{tmp_path}:/usr/sbin:/sbin"}
    assert said == []


async def test_without_apt_a_missing_tool_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no cargo on PATH"):
        await ensure_on_system("cargo", {"PATH": str(tmp_path)}, lambda _line: None)


async def test_without_apt_a_missing_engine_is_one_sentence(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path)}
    options = Options(cache=tmp_path, folder=tmp_path, environ=environ, faults={})
    said: list[str] = []

    with pytest.raises(Refused, match="install docker-registry"):
        await Programs(options, said.append).registry()
