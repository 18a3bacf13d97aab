"""Flags, environment and files become Settings and a Project, or are refused. Nothing is guessed.

What comes first decides: flag, `DEPLOYER_…` (the command line reads both), the variables that
systemprompt itself reads, `.systemprompt/`, `deployer.toml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.model import WaitPolicy
from deployer.settings import config_file, project
from deployer.settings.access import Access, find_access
from deployer.settings.database import Database, find_database
from deployer.settings.target import Inputs, Target, find_target
from deployer.settings.values import Flags, Refusal, Settings, state_directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What is deployed, and to whom."""

    root: Path
    tenant: str
    tenant_name: str | None
    app: str | None
    hostname: str | None
    profile: str | None
    dockerfile: Path  # relative to the root
    wait: WaitPolicy
    token_expires_at: float | None  # seconds since the epoch, as the token says
    database_from: str | None  # where DATABASE_URL was found
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that a command needs."""

    settings: Settings
    project: Project


def load(
    flags: Flags, environ: Mapping[str, str], directory: Path, now: float
) -> Loaded | tuple[Refusal, ...]:
    """Read everything that a deploy from `directory` needs, or say all that is wrong with it.

    `now` is in seconds since the epoch: an expired token is refused before any work.
    """
    root = project.find_root(directory)
    if isinstance(root, Refusal):
        return (root,)
    config = config_file.read(root)
    if isinstance(config, Refusal):
        return (config,)
    tenants = project.read_tenants(root)
    if isinstance(tenants, Refusal):
        return (tenants,)
    inputs = Inputs(root, flags, environ, directory, config, tenants)
    return _combine(inputs, find_access(root, environ, now), find_target(inputs))


def _combine(
    inputs: Inputs, access: Access | Refusal, target: Target | Refusal
) -> Loaded | tuple[Refusal, ...]:
    state_dir = state_directory(inputs.flags.state_dir, inputs.environ)
    if isinstance(access, Refusal) or isinstance(target, Refusal) or isinstance(state_dir, Refusal):
        # All of them: one by one, each would cost a run.
        parts = (access, target, state_dir)
        return tuple(part for part in parts if isinstance(part, Refusal))
    database = find_database(inputs.root, inputs.environ, target.profile, inputs.tenants)
    if isinstance(database, Refusal):
        return (database,)
    return Loaded(
        _settings(inputs, access, state_dir, database),
        _project(inputs.root, access, target, database),
    )


def _settings(inputs: Inputs, access: Access, state_dir: Path, database: Database) -> Settings:
    hosts = (*inputs.flags.registry_hosts, *inputs.config.registry.hosts)
    return Settings(
        api_url=access.url,
        api_token=access.token,
        state_dir=state_dir,
        environment=dict(inputs.environ),
        docker_host=inputs.environ.get("DOCKER_HOST") or None,
        database_url=database.url,
        sqlx_offline=database.offline,
        registry_hosts=frozenset(hosts),
        ca_file=inputs.flags.ca_file,
    )


def _project(root: Path, access: Access, target: Target, database: Database) -> Project:
    entry = target.entry
    return Project(
        root=root,
        tenant=target.tenant,
        tenant_name=entry.name if entry else None,
        app=entry.app_id or None if entry else None,
        hostname=entry.hostname or None if entry else None,
        profile=target.profile.name if target.profile else None,
        dockerfile=target.dockerfile,
        wait=target.wait,
        token_expires_at=access.expires_at,
        database_from=database.source,
        warnings=access.warnings + database.warnings,
    )
