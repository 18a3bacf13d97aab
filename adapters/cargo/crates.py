"""Which `cargo build`s a project needs: the document's four, or what its extensions say."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deployer.adapters.cargo import project_files
from deployer.adapters.cargo.extensions import Extension, each_extension, read_extensions
from deployer.adapters.cargo.manifest import NAME, read_manifest, workspace_packages
from deployer.failures import Failure, Kind
from deployer.model import Crate

CORE: Final = Crate(name="core", manifest=Path("core", NAME), binaries=("systemprompt",))
SYSTEM_TOOLS: Final = Crate(name="system-tools", package="system-tools", binaries=("system-tools",))
# The deploy document's MCP servers, for projects whose extensions have no manifests.
DOCUMENTED: Final = (
    SYSTEM_TOOLS,
    Crate(
        name="infrastructure",
        manifest=Path("extensions/mcp/infrastructure", NAME),
        binaries=("systemprompt-infrastructure",),
    ),
    Crate(
        name="admin",
        manifest=Path("extensions/mcp/admin", NAME),
        binaries=("systemprompt-admin",),
    ),
)
LOCK: Final = "Cargo.lock"
# These names reach cargo's command line and paths.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")


def crates(project_root: Path) -> tuple[Crate, ...] | Failure:
    """The builds of the project at `project_root`: the core first, and nothing twice."""
    extensions = read_extensions(project_root)
    if isinstance(extensions, Failure):
        return extensions
    servers = _servers(project_root, extensions) if extensions else DOCUMENTED
    if isinstance(servers, Failure):
        return servers
    chosen = _merged((CORE, *servers))
    for crate in chosen:
        manifest = read_manifest(project_root, crate.manifest or Path(NAME))
        if isinstance(manifest, Failure):
            return manifest
    return _claimed_twice(chosen) or chosen


def flaws(project_root: Path) -> tuple[Failure, ...]:
    """All that is wrong with the manifests, each once; `crates` tells the first of it."""
    found: list[Failure] = []
    extensions: dict[Path, Extension] = {}
    for path, extension in each_extension(project_root):
        if isinstance(extension, Failure):
            found.append(extension)
        else:
            extensions[path] = extension
    manifests = [CORE.manifest or Path(NAME), Path(NAME)]
    servers: list[Crate] = [] if extensions or found else list(DOCUMENTED)
    packages = workspace_packages(project_root)
    for path, extension in extensions.items():
        if extension.type == "mcp" and extension.enabled and not extension.dev_only:
            known = frozenset() if isinstance(packages, Failure) else packages
            crate = _crate(project_root, path, extension, known)
            if isinstance(crate, Failure):
                found.append(crate)
            else:
                servers.append(crate)
    manifests += [crate.manifest for crate in servers if crate.manifest]
    read = (read_manifest(project_root, path) for path in dict.fromkeys(manifests))
    found += [manifest for manifest in read if isinstance(manifest, Failure)]
    twice = _claimed_twice(_merged((CORE, *servers)))
    return tuple(dict.fromkeys((*found, *((twice,) if twice else ()))))


def locks_package(project_root: Path, package: str) -> bool:
    """Whether a lock file beside a built manifest names `package`; True where there is none."""
    chosen = crates(project_root)
    manifests = [crate.manifest for crate in chosen] if isinstance(chosen, tuple) else []
    folders = {Path(), *(manifest.parent for manifest in manifests if manifest)}
    locks = [path for path in (project_root / each / LOCK for each in folders) if path.is_file()]
    needle = f'name = "{package}'.encode()
    return not locks or any(needle in path.read_bytes() for path in locks)


def _servers(project_root: Path, extensions: dict[Path, Extension]) -> tuple[Crate, ...] | Failure:
    packages = workspace_packages(project_root)
    if isinstance(packages, Failure):
        return packages
    found: list[Crate] = [SYSTEM_TOOLS] if _needs_system_tools(packages, extensions) else []
    for path, extension in extensions.items():
        if extension.type == "mcp" and extension.enabled and not extension.dev_only:
            crate = _crate(project_root, path, extension, packages)
            if isinstance(crate, Failure):
                return crate
            found.append(crate)
    # system-tools comes before the others, whoever asked for it.
    return tuple(sorted(found, key=lambda crate: crate.package != SYSTEM_TOOLS.package))


def _needs_system_tools(packages: frozenset[str], extensions: dict[Path, Extension]) -> bool:
    """Whether to build the one server that is no extension: it is there, and none speaks of it."""
    name = SYSTEM_TOOLS.name
    spoken_of = any(name in (each.name, each.binary) for each in extensions.values())
    return name in packages and not spoken_of


def _crate(
    project_root: Path, path: Path, extension: Extension, packages: frozenset[str]
) -> Crate | Failure:
    if extension.binary is None or not _NAME.fullmatch(extension.binary):
        return _refused(path, f"extension.binary {extension.binary!r} is not a binary's name")
    beside = path.with_name(NAME)
    match extension.build_type:
        case "submodule":
            return Crate(name=extension.name, manifest=beside, binaries=(extension.binary,))
        case "workspace":
            package = _package(project_root, beside, extension, packages)
            if isinstance(package, Failure):
                return package
            if not _NAME.fullmatch(package):
                return _refused(path, f"its package {package!r} is not a package's name")
            return Crate(name=extension.name, package=package, binaries=(extension.binary,))
        case other:
            return _refused(path, f"extension.build_type {other!r} is not workspace or submodule")


def _package(
    project_root: Path, beside: Path, extension: Extension, packages: frozenset[str]
) -> str | Failure:
    """The package of the root's workspace: by the manifest beside, else by the names given."""
    if (project_root / beside).exists():
        manifest = read_manifest(project_root, beside)
        if isinstance(manifest, Failure):
            return manifest
        if manifest.package:
            return manifest.package.name
    named = (extension.binary or "", extension.name)
    return next((name for name in named if name in packages), named[0])


def _merged(chosen: Iterable[Crate]) -> tuple[Crate, ...]:
    """One build for each manifest or package, with all binaries that are wanted of it."""
    builds: dict[tuple[Path | None, str | None], Crate] = {}
    for crate in chosen:
        build = (crate.manifest, crate.package)
        before = builds.get(build, crate)
        binaries = tuple(dict.fromkeys((*before.binaries, *crate.binaries)))
        builds[build] = Crate(
            name=before.name, manifest=crate.manifest, package=crate.package, binaries=binaries
        )
    return tuple(builds.values())


def _claimed_twice(chosen: Iterable[Crate]) -> Failure | None:
    owners: dict[str, Crate] = {}
    for crate in chosen:
        for binary in crate.binaries:
            owner = owners.setdefault(binary, crate)
            if owner is not crate:
                where = crate.manifest or Path(NAME)
                why = f"of {crate.name} is to build {binary}, which {owner.name} builds"
                return _refused(where, why)
    return None


def _refused(path: Path, why: str) -> Failure:
    return project_files.refused(path, Kind.NO_SUCH_PACKAGE, why)
