"""`deployer.toml`: the project's own defaults, committed beside its code, without secrets."""

import difflib
import re
from pathlib import Path
from typing import Final

import msgspec

from deployer.run import BuilderWish
from deployer.settings.local_files import read_toml
from deployer.settings.values import Refusal

NAME: Final = "deployer.toml"
VERSION: Final = 1
_UNKNOWN: Final = re.compile(r"unknown field (?P<key>\S+)")
_DURATION: Final = re.compile(
    r"(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,6})m)?(?:(?P<s>[0-9]{1,6})s?)?"
)
DURATION_MAX: Final = 7 * 86_400.0  # seconds


class Seconds(float):
    """A duration, written `90s`, `5m` or `1h30m`."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A misspelt key must not be a key without effect."""


class ProjectTable(_Strict, frozen=True):
    """`[project]`: what is deployed where no flag says it."""

    tenant: str | None = None
    profile: str | None = None


class ImageTable(_Strict, frozen=True):
    """`[image]`: what is built."""

    dockerfile: str | None = None  # relative to the project root
    builder: BuilderWish | None = None
    base_registry: str | None = None  # `host[:port]` that stands in for docker.io


class DeployTable(_Strict, frozen=True):
    """`[deploy]`: how long to wait."""

    wait_timeout: Seconds | None = None
    stability: Seconds | None = None
    settle: Seconds | None = None


class RegistryTable(_Strict, frozen=True):
    """`[registry]`: hosts besides registry.fly.io that may be pushed to."""

    hosts: list[str] = []


class ConfigFile(_Strict, frozen=True):
    """The whole file."""

    version: int = VERSION
    project: ProjectTable = ProjectTable()
    image: ImageTable = ImageTable()
    deploy: DeployTable = DeployTable()
    registry: RegistryTable = RegistryTable()


def read(root: Path) -> ConfigFile | Refusal:
    """The project's `deployer.toml`, or the defaults where it has none."""
    path = root / NAME
    found = read_toml(path, ConfigFile, f"correct {NAME}", _decode)
    match found:
        case None:
            return ConfigFile()
        case Refusal():
            return _with_nearest_key(found)
        case ConfigFile() if found.version != VERSION:
            return Refusal(
                what=f"version {found.version} is not known",
                where=f"{path}, key version",
                remedy=f"write version = {VERSION}, or update deployer",
            )
        case _:
            return found


def parse_duration(text: str) -> Seconds:
    """The seconds in `90`, `90s`, `5m` or `1h30m`. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text[:40]!r} is not a duration such as 90s, 5m or 1h30m")
    hours, minutes, seconds = (int(found[unit] or 0) for unit in "hms")
    total = hours * 3600.0 + minutes * 60.0 + seconds
    if total > DURATION_MAX:
        raise ValueError(f"{text[:40]!r} is longer than a week")
    return Seconds(total)


def _decode(shape: type, value: object) -> object:
    if shape is not Seconds:
        raise TypeError(f"{shape.__name__} is no kind of setting")
    return parse_duration(value if isinstance(value, str) else repr(value))


def _with_nearest_key(refusal: Refusal) -> Refusal:
    unknown = _UNKNOWN.search(refusal.what)
    if unknown is None:
        return refusal
    *_, table = (refusal.where or "").split("key ")
    known = _keys(table)
    near = difflib.get_close_matches(unknown["key"], known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return Refusal(what=f"unknown key {unknown['key']}", where=refusal.where, remedy=remedy)


def _keys(table: str) -> tuple[str, ...]:
    """The keys of `[table]`; of the file where there is no such table."""
    part = getattr(ConfigFile(), table, None) if table in ConfigFile.__struct_fields__ else None
    return (part if isinstance(part, _Strict) else ConfigFile()).__struct_fields__
