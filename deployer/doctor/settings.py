"""The settings' own files: which there are, and those that are broken though nobody asked for them."""

import stat
from collections.abc import Iterator
from pathlib import Path

from deployer.doctor.finding import Advice, Finding
from deployer.settings import config_file, project
from deployer.settings.resolve import Survey
from deployer.settings.target import Inputs
from deployer.settings.values import Refusal


def of_files(found: Survey) -> Iterator[Finding]:
    """What the files say; a refusal of one that a deploy would read is told by the survey."""
    if found.inputs is None:
        return
    yield from _file(project.credentials_path(found.inputs.root), found)
    yield from _file(project.tenants_path(found.inputs.root), found)
    yield from _file(found.inputs.root / config_file.NAME, found)
    yield from _mode(project.credentials_path(found.inputs.root))
    yield from _profiles(found.inputs, found)
    yield from _chosen(found)


def _file(path: Path, found: Survey) -> Iterator[Finding]:
    refused = any(str(path) in (refusal.where or "") for refusal in found.refusals)
    if not refused:
        text = "can be read" if path.is_file() else "not there, and not needed"
        yield Finding(name=path.name, text=text)


def _mode(path: Path) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & 0o077:
        text = f"mode {mode:04o}"
        yield Finding(name=path.name, text=text, advice=Advice.CREDENTIALS_MODE)


def _profiles(inputs: Inputs, found: Survey) -> Iterator[Finding]:
    for name in project.profile_names(inputs.root):
        read = project.read_profile(inputs.root, name, inputs.directory)
        told = any(refusal == read for refusal in found.refusals)
        if isinstance(read, Refusal) and not told and "cannot be parsed" in read.what:
            yield Finding(name=f"profile {name}", text=str(read), advice=Advice.MEND)


def _chosen(found: Survey) -> Iterator[Finding]:
    if found.target is not None:
        profile = f", profile {found.target.profile.name}" if found.target.profile else ""
        yield Finding(name="tenant", text=f"{found.target.tenant}{profile}")
    if found.access is not None:
        yield Finding(name="API", text=found.access.url)
    if found.database.source is not None:
        yield Finding(name="DATABASE_URL", text=f"from {found.database.source}")
    yield from (
        Finding(name="DATABASE_URL", text=warning, advice=Advice.MEND)
        for warning in found.database.warnings
    )
