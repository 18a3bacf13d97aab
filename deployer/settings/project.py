"""What `.systemprompt/` says: where the project is, its credentials, tenants and profiles."""

import re
from pathlib import Path
from typing import Final

import msgspec

from deployer.settings.local_files import is_directory, read_json, read_yaml
from deployer.settings.values import Refusal, path_problem

DIRECTORY: Final = ".systemprompt"
LOGIN: Final = "log in again: `systemprompt cloud auth login`"
DEFAULT_DOCKERFILE: Final = Path(DIRECTORY, "Dockerfile")
# The login writes these where the server does not tell the password.
_MASKED: Final = re.compile(r":\*+@")


class Credentials(msgspec.Struct, frozen=True):
    """`credentials.json`, as `systemprompt cloud auth login` leaves it."""

    api_token: str
    api_url: str

    def __repr__(self) -> str:
        """The URL alone."""
        return f"Credentials(api_url={self.api_url!r})"


class Tenant(msgspec.Struct, frozen=True):
    """One entry of `tenants.json`."""

    id: str
    name: str | None = None
    app_id: str | None = None
    hostname: str | None = None
    tenant_type: str | None = None
    database_url: str | None = None

    def __repr__(self) -> str:
        """Without the database's password."""
        return f"Tenant(id={self.id!r})"

    @property
    def is_local(self) -> bool:
        """Whether it lives on this machine and cannot be deployed to."""
        return self.tenant_type == "local"

    @property
    def usable_database_url(self) -> str | None:
        """Its database URL, unless the login masked it."""
        return usable_url(self.database_url)


class Tenants(msgspec.Struct, frozen=True):
    """`tenants.json`: the tenants of the user who logged in."""

    tenants: tuple[Tenant, ...]

    def find(self, tenant: str) -> Tenant | None:
        """The entry with this id."""
        return next((entry for entry in self.tenants if entry.id == tenant), None)


class _Cloud(msgspec.Struct, frozen=True):
    tenant_id: str | None = None
    enabled: bool | None = None
    cli_enabled: bool | None = None  # its name for a while


class _Paths(msgspec.Struct, frozen=True):
    dockerfile: str | None = None


class _Secrets(msgspec.Struct, frozen=True):
    secrets_path: str | None = None


class _ProfileFile(msgspec.Struct, frozen=True):
    target: str | None = None
    cloud: _Cloud | None = None
    paths: _Paths | None = None
    secrets: _Secrets | None = None


class _SecretsFile(msgspec.Struct, frozen=True):
    # The other keys are none of our business, and may be of any type.
    database_url: object = None


class Profile(msgspec.Struct, frozen=True):
    """A profile that may be deployed."""

    name: str  # what --profile takes to find it again
    path: Path  # of profile.yaml
    tenant: str | None
    dockerfile: str | None
    secrets_path: str | None


def find_root(start: Path) -> Path | Refusal:
    """The nearest directory with a `.systemprompt/`, from `start` upwards."""
    for directory in (start, *start.parents):
        if is_directory(directory / DIRECTORY):
            return _unusable(directory, "rename the folder") or directory
    return Refusal(
        what=f"no {DIRECTORY}/ here or above",
        where=str(start),
        remedy="go to the project, or name it with -C DIR",
    )


def credentials_path(root: Path) -> Path:
    """Where the login is kept."""
    return root / DIRECTORY / "credentials.json"


def read_credentials(root: Path) -> Credentials | Refusal | None:
    """The login; None where nobody has logged in."""
    return read_json(credentials_path(root), Credentials, LOGIN)


def tenants_path(root: Path) -> Path:
    """Where the login lists the user's tenants."""
    return root / DIRECTORY / "tenants.json"


def read_tenants(root: Path) -> Tenants | Refusal | None:
    """The user's tenants; None where there is no list."""
    return read_json(tenants_path(root), Tenants, LOGIN)


def profile_names(root: Path) -> tuple[str, ...]:
    """The names that `--profile` takes in this project."""
    found = (root / DIRECTORY / "profiles").glob("*/profile.yaml")
    return tuple(sorted(path.parent.name for path in found))


def read_profile(root: Path, named: str, directory: Path) -> Profile | Refusal:
    """The profile `named`: a name below `.systemprompt/profiles`, or a path from `directory`."""
    path = _profile_path(root, named, directory)
    unusable = _unusable(path, "rename it")
    if unusable is not None:
        return unusable
    found = read_yaml(path, _ProfileFile, "correct the profile")
    if found is None:
        known = ", ".join(profile_names(root)) or "none"
        return Refusal(
            what=f"no profile {named!r}", where=str(path), remedy=f"pass one of: {known}"
        )
    if isinstance(found, Refusal):
        return found
    return _not_for_the_cloud(found, path) or Profile(
        name=_profile_name(root, path),
        path=path,
        tenant=found.cloud.tenant_id if found.cloud else None,
        dockerfile=found.paths.dockerfile if found.paths else None,
        secrets_path=found.secrets.secrets_path if found.secrets else None,
    )


def read_database_url(profile: Profile) -> str | Refusal | None:
    """The `database_url` of the profile's secrets; None where they hold none that can be used."""
    path = profile.path.parent / (profile.secrets_path or "secrets.json")
    found = read_json(path, _SecretsFile, "correct the profile's secrets")
    if found is None or isinstance(found, Refusal):
        return found
    # Values that are no text are skipped, as systemprompt itself does.
    return usable_url(found.database_url if isinstance(found.database_url, str) else None)


def usable_url(url: str | None) -> str | None:
    """`url` unless it is empty or its password is stars."""
    return None if not url or url == "null" or _MASKED.search(url) else url


def _profile_path(root: Path, named: str, directory: Path) -> Path:
    if "/" in named or named.endswith((".yaml", ".yml")) or named in (".", ".."):
        path = directory / named
        return path / "profile.yaml" if is_directory(path) else path
    return root / DIRECTORY / "profiles" / named / "profile.yaml"


def _profile_name(root: Path, path: Path) -> str:
    usual = root / DIRECTORY / "profiles" / path.parent.name / "profile.yaml"
    return path.parent.name if path == usual else str(path)


def _unusable(path: Path, remedy: str) -> Refusal | None:
    """A refusal of a path that a run could not name."""
    problem = path_problem(path)
    return Refusal(what=f"{str(path)!r} {problem}", remedy=remedy) if problem else None


def _not_for_the_cloud(profile: _ProfileFile, path: Path) -> Refusal | None:
    if profile.target not in (None, "cloud"):
        return Refusal(
            what=f"target is {profile.target!r}",
            where=f"{path}, key target",
            remedy="choose a profile whose target is cloud",
        )
    cloud = profile.cloud or _Cloud()
    if cloud.enabled is False or cloud.cli_enabled is False:
        key = "cloud.enabled" if cloud.enabled is False else "cloud.cli_enabled"
        return Refusal(
            what="the profile is not for the cloud",
            where=f"{path}, key {key}",
            remedy="choose another profile, or enable it",
        )
    return None
