"""Finds the engine's and the registry's programs, or fetches them from the distribution."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deployer.sandbox.options import Options
from deployer.sandbox.packages import Apt, can_fetch, can_install, fetch_programs
from deployer.sandbox.refusal import Refused, Say

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Program:
    """A program and the environment that it runs in."""

    path: str
    env: Mapping[str, str]


def _environment(environ: Mapping[str, str], root: Path | None) -> dict[str, str]:
    """Only what a server needs; no token of the user's shell reaches it."""
    env = {name: environ[name] for name in ("HOME", *_PROXIES) if name in environ}
    path = environ.get("PATH", os.defpath)
    if root is None:
        # Not on every user's PATH, but where distributions put dockerd's helpers.
        return {**env, "PATH": f"{path}:/usr/sbin:/sbin"}
    homes = [root / place for place in ("usr/bin", "usr/sbin", "sbin")]
    libraries = [str(place) for base in ("usr/lib", "lib") for place in (root / base).glob("*-*-*")]
    return {
        **env,
        "PATH": ":".join([*map(str, homes), path, "/usr/sbin", "/sbin"]),
        "LD_LIBRARY_PATH": ":".join(libraries),
    }


class Programs:
    """Where the sandbox's programs come from."""

    def __init__(self, options: Options, say: Say) -> None:
        self._environ = options.environ
        self._cache = options.cache
        self._say = say

    async def dockerd(self) -> Program:
        """The Docker Engine's daemon, with containerd and runc beside it, or Refused."""
        return await self.find("dockerd", "docker.io")

    async def registry(self) -> Program:
        """The distribution project's registry, or Refused."""
        return await self.find("docker-registry", "docker-registry")

    async def find(self, name: str, package: str) -> Program:
        """`name` on PATH, or out of the distribution's `package`, or Refused."""
        return self._on_path(name) or await self._fetched(name, package)

    def _on_path(self, name: str) -> Program | None:
        env = _environment(self._environ, None)
        path = shutil.which(name, path=env["PATH"])
        return Program(path, env) if path else None

    async def _fetched(self, name: str, package: str) -> Program:
        root = self._cache / "programs" / package
        if not root.exists():
            if not can_fetch(self._environ):
                raise Refused(
                    f"There is no {name} here, and only on Debian or Ubuntu can it be fetched: "
                    f"install {package}."
                )
            self._say(f"Fetching {package} from the distribution into {root} (not installed)")
            await fetch_programs(Apt(self._environ), [package], root)
        env = _environment(self._environ, root)
        path = shutil.which(name, path=env["PATH"])
        if path is None:
            raise Refused(f"{package} holds no {name}: remove {root} and try again.")
        return Program(path, env)


async def ensure_on_system(name: str, environ: Mapping[str, str], say: Say) -> None:
    """Have `name` (cargo, git) on PATH: installed from the distribution if need be, or Refused."""
    if shutil.which(name, path=environ.get("PATH", os.defpath)):
        return
    if not can_install(environ):
        raise Refused(f"There is no {name} on PATH: install it, then run this again.")
    say(f"Installing {name} from the distribution")
    await Apt(environ).install(name)
