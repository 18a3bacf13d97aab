"""buildah as a third shell: on PATH, or out of the distribution's package, in a storage of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from deployer.sandbox.options import Options
from deployer.sandbox.programs import Program, Programs
from deployer.sandbox.refusal import Refused

# The first that this machine's kernel and disks allow.
STORAGES: Final = ("overlay", "vfs")
_POLICY: Final = '{"default": [{"type": "insecureAcceptAnything"}]}'
_CLEAR: Final = "--tls-verify=false"  # on loopback


class BuildahError(Exception):
    """A command of buildah's failed; the message is its own."""


@dataclass(frozen=True, slots=True)
class Buildah:
    """A storage, and how to reach it."""

    program: Program
    storage: str
    folder: Path

    async def run(self, command: str, *words: str, cwd: Path | None = None) -> None:
        """One command. Raises BuildahError."""
        place = [f"--root={self.folder}/root", f"--runroot={self.folder}/run"]
        place.append(f"--storage-driver={self.storage}")
        argv = [self.program.path, *place, command, *words]
        env = {**self.program.env, "REGISTRY_AUTH_FILE": str(self.folder / "auth.json")}
        done = await anyio.run_process(argv, cwd=cwd, env=env, check=False)
        if done.returncode:
            raise BuildahError(f"buildah {command}: {(done.stdout + done.stderr).decode()[-600:]}")

    async def build_and_push(self, root: Path, image: str) -> None:
        """What a shell pipeline does with it. Raises BuildahError."""
        policy = f"--signature-policy={self.folder}/policy.json"
        built = ("--layers", "--isolation=chroot", "--pull-never", policy, "-q", "-t", image)
        await self.run("bud", *built, "-f", "Dockerfile", ".", cwd=root)
        await self.run("push", "-q", _CLEAR, policy, image)

    async def take_base(self, registry: str, base: str) -> None:
        """Have the base image, as docker.io's. Raises BuildahError."""
        policy = f"--signature-policy={self.folder}/policy.json"
        there = f"{registry}/library/{base}"
        await self.run("pull", "-q", _CLEAR, policy, f"docker://{there}")
        await self.run("tag", there, f"docker.io/library/{base}")


async def buildah(options: Options, registry: str, base: str, folder: Path) -> Buildah | str:
    """A buildah that works here, with the base image in it; else why there is none."""
    try:
        program = await Programs(options, lambda _: None).find("buildah", "buildah")
    except Refused as refused:
        return str(refused)
    why = ""
    for storage in STORAGES:
        place = folder / storage
        await anyio.Path(place).mkdir(parents=True)
        await anyio.Path(place / "policy.json").write_text(_POLICY)
        await anyio.Path(place / "auth.json").write_text("{}")
        found = Buildah(program, storage, place)
        try:
            await found.take_base(registry, base)
        except BuildahError as error:
            why = str(error)
        else:
            return found
    return why
