"""Flags, environment and files become Settings and a Project, or are refused. Nothing is guessed.

What comes first decides: flag, `DEPLOYER_…` (the command line reads both), the variables that
systemprompt itself reads, `.systemprompt/`, `deployer.toml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployer.model import Secret
from deployer.run import BuilderWish, DeployRequest, WaitPolicy
from deployer.settings import config_file, project
from deployer.settings.access import Access, find_access
from deployer.settings.config_file import ConfigFile
from deployer.settings.database import Database, find_database
from deployer.settings.registries import Registries, find_registries
from deployer.settings.target import Inputs, Target, find_target
from deployer.settings.values import PRODUCTION_API, Flags, Refusal, Settings, state_directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What is deployed, and to whom."""

    root: Path
    tenant: str
    tenant_name: str | None
    app: str | None
    foreign_apps: frozenset[str]  # of the other tenants in tenants.json
    hostname: str | None
    profile: str | None
    dockerfile: Path  # relative to the root
    builder: BuilderWish
    wait: WaitPolicy
    token_expires_at: float | None  # seconds since the epoch, as the token says
    database_from: str | None  # where DATABASE_URL was found
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that a command needs."""

    settings: Settings
    project: Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All that was found, and all that is wrong with it."""

    refusals: tuple[Refusal, ...]
    inputs: Inputs | None = None  # None: there is no project
    access: Access | None = None
    target: Target | None = None
    state_dir: Path | None = None
    database: Database = field(default_factory=Database)
    registries: Registries = field(default_factory=Registries)


def load(
    flags: Flags, environ: Mapping[str, str], directory: Path, now: float
) -> Loaded | tuple[Refusal, ...]:
    """Read everything that a deploy from `directory` needs, or say all that is wrong with it.

    `now` is in seconds since the epoch: an expired token is refused before any work.
    """
    found = survey(flags, environ, directory, now)
    if found.refusals:
        return found.refusals
    access, target, state_dir = found.access, found.target, found.state_dir
    assert found.inputs and access and target and state_dir  # noqa: S101, PT018  # or refused
    return Loaded(
        _settings(found, found.inputs, access, state_dir),
        _project(found.inputs, access, target, found.database),
    )


def survey(flags: Flags, environ: Mapping[str, str], directory: Path, now: float) -> Survey:
    """Read everything, however much of it is refused: one by one, each would cost a run."""
    root = project.find_root(directory)
    if isinstance(root, Refusal):
        return Survey(refusals=(root,))
    config = config_file.read(root)
    tenants = project.read_tenants(root)
    inputs = Inputs(
        root,
        flags,
        environ,
        directory,
        ConfigFile() if isinstance(config, Refusal) else config,
        None if isinstance(tenants, Refusal) else tenants,
    )
    access, target = find_access(root, environ, now), find_target(inputs)
    state_dir = state_directory(flags.state_dir, environ)
    profile = None if isinstance(target, Refusal) else target.profile
    database = find_database(root, environ, profile, inputs.tenants)
    registries = find_registries(inputs)
    parts = (config, tenants, access, target, state_dir, database, registries)
    return Survey(
        refusals=tuple(part for part in parts if isinstance(part, Refusal)),
        inputs=inputs,
        access=None if isinstance(access, Refusal) else access,
        target=None if isinstance(target, Refusal) else target,
        state_dir=None if isinstance(state_dir, Refusal) else state_dir,
        database=Database() if isinstance(database, Refusal) else database,
        registries=Registries() if isinstance(registries, Refusal) else registries,
    )


def partial(found: Survey) -> tuple[Settings, DeployRequest] | None:
    """What can be looked at although something is refused; None where there is no project.

    The login is empty and the tenant a word of ours where none could be used: neither may be asked
    for at the Management API.
    """
    if found.inputs is None:
        return None
    access = found.access or Access(
        url=PRODUCTION_API, token=Secret(""), expires_at=None, warnings=()
    )
    # Where none could be told: a folder that nobody makes, so that nothing is kept in it.
    state_dir = found.state_dir or found.inputs.root / project.DIRECTORY / "deployer"
    dockerfile = found.target.dockerfile if found.target else project.DEFAULT_DOCKERFILE
    request = DeployRequest(
        tenant=found.target.tenant if found.target else "unknown",
        project_root=found.inputs.root,
        dockerfile=dockerfile,
    )
    return _settings(found, found.inputs, access, state_dir), request


def _settings(found: Survey, inputs: Inputs, access: Access, state_dir: Path) -> Settings:
    return Settings(
        api_url=access.url,
        api_token=access.token,
        state_dir=state_dir,
        environment=dict(inputs.environ),
        docker_host=inputs.environ.get("DOCKER_HOST") or None,
        database_url=found.database.url,
        sqlx_offline=found.database.offline,
        registry_hosts=found.registries.hosts,
        ca_file=inputs.flags.ca_file,
        base_registry=found.registries.base,
        trust_fingerprints=not inputs.flags.no_cache,
    )


def _project(inputs: Inputs, access: Access, target: Target, database: Database) -> Project:
    entry = target.entry
    known = inputs.tenants.tenants if inputs.tenants else ()
    others = {each.app_id for each in known if each.id != target.tenant}
    app = entry.app_id or None if entry else None
    return Project(
        root=inputs.root,
        tenant=target.tenant,
        tenant_name=entry.name if entry else None,
        app=app,
        # Two tenants may share an app; then it is nobody else's.
        foreign_apps=frozenset(each for each in others if each and each != app),
        hostname=entry.hostname or None if entry else None,
        profile=target.profile.name if target.profile else None,
        dockerfile=target.dockerfile,
        builder=target.builder,
        wait=target.wait,
        token_expires_at=access.expires_at,
        database_from=database.source,
        warnings=access.warnings + database.warnings,
    )
