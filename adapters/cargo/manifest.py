"""What a `Cargo.toml` says of names: its package's, and those of its workspace's members."""

import glob
from pathlib import Path
from typing import Final

import msgspec

from deployer.adapters.cargo import project_files
from deployer.failures import Failure, Kind

NAME: Final = "Cargo.toml"


class _Package(msgspec.Struct, frozen=True):
    name: str


class _Workspace(msgspec.Struct, frozen=True):
    members: tuple[str, ...] = ()


class CargoManifest(msgspec.Struct, frozen=True):
    """The names in a manifest; cargo itself checks the rest."""

    package: _Package | None = None
    workspace: _Workspace | None = None


def read_manifest(project_root: Path, relative: Path) -> CargoManifest | Failure:
    """The manifest at `relative`, below `project_root`."""
    content = project_files.read(project_root, relative, Kind.MANIFEST_BROKEN)
    if isinstance(content, Failure):
        return content
    try:
        return msgspec.toml.decode(content, type=CargoManifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"is not a valid manifest: {error}"
        return project_files.refused(relative, Kind.MANIFEST_BROKEN, why)


def workspace_packages(project_root: Path) -> frozenset[str] | Failure:
    """The packages of the root's workspace that its manifest names.

    A path dependency is a member without being named; cargo knows those, this does not.
    """
    root = read_manifest(project_root, Path(NAME))
    if isinstance(root, Failure):
        return root
    manifests = [root]
    for pattern in root.workspace.members if root.workspace else ():
        # Path.glob refuses some of the patterns that cargo takes.
        for member in sorted(glob.glob(pattern, root_dir=project_root)):  # noqa: PTH207
            found = read_manifest(project_root, Path(member, NAME))
            # A member that is broken is cargo's to complain about, when it is built.
            if not isinstance(found, Failure):
                manifests.append(found)
    return frozenset(each.package.name for each in manifests if each.package)
