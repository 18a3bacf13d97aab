"""What a project's extensions say of themselves, in each `extensions/**/manifest.yaml`."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import yaml

from deployer.adapters.cargo import project_files
from deployer.failures import Failure, Kind

FOLDER: Final = Path("extensions")
MANIFEST: Final = "manifest.yaml"
# Large, and full of other people's files.
SKIPPED: Final = frozenset({"target", "node_modules"})


class Extension(msgspec.Struct, frozen=True):
    """The part of an extension's manifest that says whether and how it is built."""

    type: str  # "mcp": a server that runs beside the main program
    name: str
    binary: str | None = None
    enabled: bool = True
    build_type: str = "workspace"  # or "submodule": a workspace of its own
    dev_only: bool = False


class _Manifest(msgspec.Struct, frozen=True):
    extension: Extension


def read_extensions(project_root: Path) -> dict[Path, Extension] | Failure:
    """Each extension by its manifest's path, relative to the root; in the order of the paths."""
    found: dict[Path, Extension] = {}
    for path, extension in each_extension(project_root):
        if isinstance(extension, Failure):
            return extension
        found[path] = extension
    return found


def each_extension(project_root: Path) -> Iterator[tuple[Path, Extension | Failure]]:
    """Each manifest's path, relative to the root, with what it says or why it cannot be used."""
    try:
        manifests = sorted(_manifests(project_root / FOLDER, project_root, set()))
    except OSError as error:
        why = f"cannot be searched: {error.strerror}: {error.filename}"
        yield FOLDER, project_files.refused(FOLDER, Kind.NO_SUCH_PACKAGE, why)
        return
    for path in manifests:
        relative = path.relative_to(project_root)
        yield relative, _read(project_root, relative)


def _manifests(folder: Path, project_root: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    manifest = folder / MANIFEST
    if manifest.is_file() or manifest.is_symlink():
        yield manifest
    # Of a folder outside the manifest is looked for, so that it can be refused, and no more.
    if folder.is_dir() and project_files.lies_inside(project_root, folder):
        for child in sorted(folder.iterdir()):
            if child.is_dir() and child.name not in SKIPPED and not child.name.startswith("."):
                yield from _manifests(child, project_root, seen)


def _read(project_root: Path, relative: Path) -> Extension | Failure:
    content = project_files.read(project_root, relative, Kind.NO_SUCH_PACKAGE)
    if isinstance(content, Failure):
        return content
    try:
        return msgspec.convert(yaml.safe_load(content), _Manifest).extension
    except msgspec.ValidationError as error:
        why = f"is no extension's manifest: {error}"
    except yaml.YAMLError as error:
        why = f"is not valid YAML: {error}"
    # PyYAML makes dates and numbers by Python's own rules, and descends without a limit.
    except (ValueError, RecursionError) as error:
        why = f"is not valid YAML: {type(error).__name__}"
    return project_files.refused(relative, Kind.NO_SUCH_PACKAGE, why)
