"""What is deployed and to whom: a profile, its tenant, the Dockerfile, and how long to wait."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deployer.names import InvalidNameError, parse_tenant
from deployer.run import BuilderWish, WaitPolicy
from deployer.settings import config_file, project
from deployer.settings.config_file import ConfigFile, DeployTable
from deployer.settings.project import Profile, Tenant, Tenants
from deployer.settings.values import Flags, Refusal, path_problem

PROFILE_VARIABLE: Final = "SYSTEMPROMPT_PROFILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A tenant of the cloud, and what goes there."""

    tenant: str
    entry: Tenant | None
    profile: Profile | None
    dockerfile: Path
    builder: BuilderWish
    wait: WaitPolicy


@dataclass(frozen=True, slots=True)
class Inputs:
    """What there is to choose from."""

    root: Path
    flags: Flags
    environ: Mapping[str, str]
    directory: Path
    config: ConfigFile
    tenants: Tenants | None


def find_target(inputs: Inputs) -> Target | Refusal:
    """The one target that is named, or why there is none."""
    profile = _profile(inputs)
    if isinstance(profile, Refusal):
        return profile
    contradiction = _contradiction(inputs, profile)
    if contradiction is not None:
        return contradiction
    tenant = _tenant(inputs, profile)
    if isinstance(tenant, Refusal):
        return tenant
    entry = _entry(inputs, tenant)
    if isinstance(entry, Refusal):
        return entry
    dockerfile = _dockerfile(inputs, profile)
    if isinstance(dockerfile, Refusal):
        return dockerfile
    return Target(
        tenant=tenant,
        entry=entry,
        profile=profile,
        dockerfile=dockerfile,
        builder=inputs.flags.builder or inputs.config.image.builder or BuilderWish.AUTO,
        wait=_wait(inputs.flags, inputs.config.deploy),
    )


def _profile(inputs: Inputs) -> Profile | Refusal | None:
    named = (
        inputs.flags.profile
        or inputs.environ.get(PROFILE_VARIABLE)
        or inputs.config.project.profile
    )
    return project.read_profile(inputs.root, named, inputs.directory) if named else None


def _contradiction(inputs: Inputs, profile: Profile | None) -> Refusal | None:
    """A refusal of a `deployer.toml` that decides alone, and names two tenants."""
    flags, file = inputs.flags, inputs.config.project
    if flags.tenant or flags.profile or inputs.environ.get(PROFILE_VARIABLE):
        return None
    named = profile.tenant if profile else None
    if not named or not file.tenant or named == file.tenant:
        return None
    return Refusal(
        what=f"profile {file.profile!r} is of tenant {named!r}, and tenant is {file.tenant!r}",
        where=f"{inputs.root / config_file.NAME}, keys project.profile and project.tenant",
        remedy="leave one of them out",
    )


def _tenant(inputs: Inputs, profile: Profile | None) -> str | Refusal:
    named = (
        inputs.flags.tenant or (profile.tenant if profile else None) or inputs.config.project.tenant
    )
    if not named:
        known = ", ".join(project.profile_names(inputs.root)) or "none here"
        where = f"{profile.path}, key cloud.tenant_id" if profile else None
        return Refusal(
            what="no tenant is named", where=where, remedy=f"pass --tenant or --profile ({known})"
        )
    try:
        return parse_tenant(named)
    except InvalidNameError as error:
        return Refusal(what=str(error), remedy="pass the id that tenants.json shows")


def _entry(inputs: Inputs, tenant: str) -> Tenant | Refusal | None:
    if inputs.tenants is None:
        return None  # a CI machine has no list; the server knows
    path = project.tenants_path(inputs.root)
    entry = inputs.tenants.find(tenant)
    if entry is None:
        known = ", ".join(each.id for each in inputs.tenants.tenants if not each.is_local)
        return Refusal(
            what=f"unknown tenant {tenant!r}",
            where=str(path),
            remedy=f"choose one of: {known or 'none'}; or {project.LOGIN}",
        )
    if entry.is_local:
        return Refusal(
            what=f"tenant {tenant!r} is local",
            where=f"{path}, key tenant_type",
            remedy="choose a tenant of the cloud",
        )
    return entry


def _dockerfile(inputs: Inputs, profile: Profile | None) -> Path | Refusal:
    if inputs.flags.dockerfile is not None:
        return _inside(inputs.root, inputs.directory / inputs.flags.dockerfile, "--dockerfile")
    if inputs.config.image.dockerfile:
        where = f"{inputs.root / config_file.NAME}, key image.dockerfile"
        return _inside(inputs.root, inputs.root / inputs.config.image.dockerfile, where)
    if profile and profile.dockerfile:
        where = f"{profile.path}, key paths.dockerfile"
        return _inside(inputs.root, inputs.root / profile.dockerfile, where)
    # Newer projects keep one Dockerfile a profile.
    newer = profile.path.parent / "docker" / "Dockerfile" if profile else None
    if newer and not (inputs.root / project.DEFAULT_DOCKERFILE).exists() and newer.is_file():
        return _inside(inputs.root, newer, str(newer))
    return project.DEFAULT_DOCKERFILE


def _inside(root: Path, path: Path, where: str) -> Path | Refusal:
    """`path` relative to the root: the engine sees nothing outside it."""
    # normpath, not resolve: a link inside the project may be meant; the build context judges it.
    absolute = Path(os.path.normpath(path))
    problem = path_problem(absolute)
    if problem is not None:
        return Refusal(
            what=f"{str(path)!r} {problem}", where=where, remedy="name another Dockerfile"
        )
    if not absolute.is_relative_to(root):
        return Refusal(
            what=f"{path} lies outside the project {root}",
            where=where,
            remedy="name a Dockerfile inside it",
        )
    return absolute.relative_to(root)


def _wait(flags: Flags, stored: DeployTable) -> WaitPolicy:
    default = WaitPolicy()
    return WaitPolicy(
        wait=flags.wait,
        timeout=_first(flags.wait_timeout, stored.wait_timeout, default.timeout),
        stability=_first(flags.stability, stored.stability, default.stability),
        settle=_first(stored.settle, default.settle),
    )


def _first(*seconds: float | None) -> float:
    """The first that is given: 0 is."""
    return float(next(each for each in seconds if each is not None))
