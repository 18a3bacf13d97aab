"""The registry program of other releases of Debian, from the mirror that this machine uses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deployer.sandbox.child import output
from deployer.sandbox.packages import Apt, fetch_programs
from deployer.sandbox.refusal import Refused

RELEASES: Final = ("bullseye", "trixie")
PACKAGE: Final = "docker-registry"
_KEYS: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


async def registry_of(release: str, cache: Path, scratch: Path, environ: Mapping[str, str]) -> Path:
    """That release's program, unpacked below `cache`; raises Refused where it cannot be had.

    `scratch` is a folder: the machine's own package lists are not touched.
    """
    root = cache / "programs" / f"{PACKAGE}-{release}"
    if not root.exists():
        apt = Apt(environ, options=await _options(release, scratch, environ))
        await fetch_programs(apt, [PACKAGE], root)
    program = root / "usr" / "bin" / PACKAGE
    await output([str(program), "--version"], what=f"{program} --version")
    return program


async def _options(release: str, scratch: Path, environ: Mapping[str, str]) -> list[str]:
    """Options with which apt-get sees that release only."""
    lists, sources = scratch / "lists", scratch / "sources"
    (lists / "partial").mkdir(parents=True)
    sources.mkdir()
    signed = f"Signed-By: {_KEYS}\n" if _KEYS.exists() else ""
    (sources / "release.sources").write_text(
        f"Types: deb\nURIs: {await _mirror(environ)}\nSuites: {release}\nComponents: main\n{signed}"
    )
    settings = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": sources,
        "Dir::State::Lists": lists,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


async def _mirror(environ: Mapping[str, str]) -> str:
    """Where this machine has Debian's packages from."""
    argv = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
    for attempt in ("as it is", "with lists"):
        if attempt == "with lists":
            await output(["apt-get", "update", "-q"], what="apt-get update", env=environ)
        said = (await output(argv, what="apt-get indextargets", env=environ)).decode()
        found = [line.split()[2] for line in said.splitlines() if line.startswith("Debian Debian ")]
        if found:
            return found[0]
    raise Refused("apt's sources name no archive of Debian")
