"""The public names."""

import subprocess  # noqa: TID251  # a fresh interpreter shows what an import brings
import sys

import deployer


def test_each_public_name_is_there_and_no_other() -> None:
    assert sorted(deployer._HOMES) == sorted(deployer.__all__) == sorted(dir(deployer))
    for name in deployer.__all__:
        assert getattr(deployer, name) is not None


def test_importing_the_package_brings_nothing_heavy() -> None:
    code = "import deployer, sys; print([m for m in ('anyio', 'httpx', 'aiohttp', 'rich', 'click') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
