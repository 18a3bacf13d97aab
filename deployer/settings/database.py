"""What the query macros of sqlx compile against: a database, or the offline cache."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.model import Secret
from deployer.names import is_utf8
from deployer.settings import project
from deployer.settings.project import Profile, Tenants
from deployer.settings.values import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A URL, or leave to compile without one, or neither."""

    url: Secret | None = None
    source: str | None = None
    offline: bool = False
    warnings: tuple[str, ...] = ()


def find_database(
    root: Path, environ: Mapping[str, str], profile: Profile | None, tenants: Tenants | None
) -> Database | Refusal:
    """In the documents' order: environment, profile, local tenant, the offline cache."""
    offline = environ.get("SQLX_OFFLINE", "").lower() in ("true", "1")
    given = environ.get("DATABASE_URL")
    if given and not is_utf8(given):
        return Refusal(what="the URL is not UTF-8", where="DATABASE_URL", remedy="correct it")
    if given:
        return Database(url=Secret(given), source="the environment", offline=offline)
    stored = project.read_database_url(profile) if profile else None
    if isinstance(stored, Refusal):
        return stored
    if profile and stored:
        return Database(
            url=Secret(stored), source=f"the secrets of profile {profile.name}", offline=offline
        )
    local = _local_database(tenants)
    if local:
        return Database(
            url=local.url, source=local.source, offline=offline, warnings=local.warnings
        )
    return Database(offline=offline or (root / ".sqlx").is_dir())


def _local_database(tenants: Tenants | None) -> Database | None:
    entries = tuple(
        entry
        for entry in (tenants.tenants if tenants else ())
        if entry.is_local and entry.usable_database_url
    )
    if not entries:
        return None
    first = entries[0]
    urls = {entry.usable_database_url for entry in entries}
    several = f"{len(urls)} local tenants have a database; {first.id!r} is taken"
    return Database(
        url=Secret(first.usable_database_url or ""),
        source=f"the local tenant {first.id!r}",
        warnings=(several,) if len(urls) > 1 else (),
    )
