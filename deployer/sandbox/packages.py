"""The distribution's packages, unpacked into the sandbox's own folder and never installed."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from deployer.sandbox.child import output
from deployer.sandbox.making import making
from deployer.sandbox.refusal import Refused

# An unpacked C library would be loaded by the system's own loader, which must be of its build.
_THE_SYSTEMS = ("libc6_", "libc-bin_", "libcrypt1_")


def can_fetch(environ: Mapping[str, str]) -> bool:
    """Whether packages can be had to be unpacked: apt-get and dpkg-deb are on PATH."""
    path = environ.get("PATH", os.defpath)
    return all(shutil.which(tool, path=path) for tool in ("apt-get", "dpkg-deb"))


def can_install(environ: Mapping[str, str]) -> bool:
    """Whether packages can be installed on the system as well, which is root's."""
    return os.geteuid() == 0 and can_fetch(environ)


class Apt:
    """apt-get with an environment of its own."""

    def __init__(self, environ: Mapping[str, str], options: Sequence[str] = ()) -> None:
        """`options` go to each apt-get: `-o`, `NAME=VALUE`."""
        self._options = options
        self._env = {**environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}

    async def download(
        self, packages: Sequence[str], into: Path, *, installed: Path | None = None
    ) -> list[Path]:
        """Download packages and what they need; return the files.

        `installed` is a dpkg status file that says what is there already; None: the system's.
        """
        await anyio.Path(into / "partial").mkdir(parents=True, exist_ok=True)
        place = ["-o", f"Dir::Cache::archives={into}", "-o", "DPkg::Lock::Timeout=60"]
        if installed is not None:
            place += ["-o", f"Dir::State::status={installed}"]
        if os.geteuid() != 0:
            place += await _own_lists(into)
        await self._install(["--download-only", *packages], place)
        return sorted([Path(each) async for each in anyio.Path(into).glob("*.deb")])

    async def install(self, package: str) -> None:
        """Install on the system, for what cannot run from a folder (a compiler)."""
        await self._install([package], ["-o", "DPkg::Lock::Timeout=60"])

    async def _install(self, words: Sequence[str], options: Sequence[str]) -> None:
        apt = ["apt-get", *self._options, *options]
        argv = [*apt, "install", "-y", "-q", "--no-install-recommends", *words]
        what = f"Fetching {words[-1]} from the distribution"
        try:
            await output(argv, env=self._env, what=what)
        except Refused:
            # No lists yet, or lists that name versions which the mirror has dropped since.
            await output([*apt, "update", "-q"], env=self._env, what="apt-get update")
            await output(argv, env=self._env, what=what)

    async def unpack(self, archives: Sequence[Path], root: Path) -> None:
        """Unpack programs to run from `root`; the C library stays the system's."""
        await anyio.Path(root).mkdir(parents=True, exist_ok=True)
        for archive in archives:
            if not archive.name.startswith(_THE_SYSTEMS):
                argv = ["dpkg-deb", "-x", str(archive), str(root)]
                await output(argv, env=self._env, what=f"Unpacking {archive.name}")


async def _own_lists(folder: Path) -> list[str]:
    """Options with which anybody can download: the system's lists and locks are root's."""
    lists = folder / "lists"
    await anyio.Path(lists / "partial").mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::Lists": lists,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "1",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


async def fetch_programs(apt: Apt, packages: Sequence[str], root: Path) -> None:
    """Leave the packages' files below `root`, complete or not at all."""
    async with making(root) as folder:
        if folder is not None:
            archives = await apt.download(packages, folder / "archives")
            await apt.unpack(archives, folder / "root")
            await anyio.Path(folder / "root").rename(root)
