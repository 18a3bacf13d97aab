"""Wheel and sdist: installed, they run from a foreign folder, with the sample project inside."""

import sys
import tarfile
import zipfile
from pathlib import Path

import anyio
import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]


def run(*argv: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    async def go() -> str:
        done = await anyio.run_process([*map(str, argv)], cwd=cwd, env=env, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return anyio.run(go)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist of a copy of the checkout, and a wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    names = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, names):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--outdir", folder, source, cwd=folder)
    return folder


def test_the_sdist_holds_all_three_packages(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert {"states/flow.py", "adapters/text.py", "deployer/api.py", "LICENSE"} <= names


def test_an_installed_wheel_runs_from_a_foreign_folder(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site = tmp_path / "site"
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel,
        cwd=tmp_path,
    )  # fmt: skip
    env = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    # -S would hide the dependencies too; -P hides this checkout.
    python = (sys.executable, "-P", "-m", "deployer")
    where = run(
        sys.executable, "-P", "-c", "import deployer.states.flow as f; print(f.__file__)",
        cwd=tmp_path, env=env,
    )  # fmt: skip

    assert where.startswith(str(site))
    assert run(*python, "--version", cwd=tmp_path, env=env).startswith("deployer ")
    assert "push-401" in run(*python, "sandbox", "faults", cwd=tmp_path, env=env)


def test_the_wheel_has_the_sample_project_and_nothing_at_the_top_but_deployer(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sample = {name.partition("/workspace/")[2] for name in names if "/workspace/" in name}

    assert {
        ".systemprompt/Dockerfile",
        ".systemprompt/tenants.json",
        ".dockerignore",
        "core/web/dist/index.html",
        "justfile",
    } <= sample
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"deployer"}
    assert "deployer/py.typed" in names
