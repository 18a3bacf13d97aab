"""What a Deployer needs to know, and why it may not have it. The library reads no environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from deployer.adapters.http.url import is_loopback, parse_api_url
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.model import Secret
from deployer.names import is_utf8
from deployer.run import BuilderWish
from deployer.states.flow import State

PRODUCTION_API: Final = "https://api.systemprompt.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are and who we are. Equal for each deploy of one Deployer."""

    api_url: str  # of the Management API, without a path's end slash
    api_token: Secret
    state_dir: Path  # the journal and the logs
    # cargo's and git's allow-lists are taken from it; it may hold secrets, so it is not shown.
    environment: Mapping[str, str] = field(repr=False)
    docker_host: str | None = None  # None: the engine's own defaults
    database_url: Secret | None = None
    sqlx_offline: bool = False
    registry_hosts: frozenset[str] = frozenset()  # besides registry.fly.io
    ca_file: Path | None = None  # PEM; None: the system's authorities
    base_registry: str | None = None  # stands in for docker.io where no engine builds
    trust_fingerprints: bool = True  # sources whose inodes did not change are not read again

    def secrets(self) -> tuple[Secret, ...]:
        """The values that must never be shown."""
        return tuple(secret for secret in (self.api_token, self.database_url) if secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What a caller chose by flag or `DEPLOYER_…`. None: nothing."""

    tenant: str | None = None
    profile: str | None = None
    dockerfile: Path | None = None  # from the start directory
    wait: bool = True
    wait_timeout: float | None = None  # seconds
    stability: float | None = None  # seconds
    state_dir: Path | None = None
    ca_file: Path | None = None
    registry_hosts: tuple[str, ...] = ()
    builder: BuilderWish | None = None
    no_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A setting that cannot be used: a value, shown as one line."""

    what: str  # is wrong
    remedy: str  # what to do
    where: str | None = None  # the file and its key, the variable, or the flag

    def __str__(self) -> str:
        """What, where, and what to do."""
        place = f" ({self.where})" if self.where else ""
        return clean(f"{self.what}{place}: {self.remedy}", limit=1000)

    @property
    def failure(self) -> Failure:
        """The same as a row of the catalogue."""
        return Failure(phase=State.BUILDING, kind=Kind.CONFIGURATION, cause=str(self))


def path_problem(path: Path) -> str | None:
    """Why `path` can be no part of a run, or None."""
    if "\0" in str(path):
        return "contains a NUL character"
    return None if is_utf8(str(path)) else "is not UTF-8"


def api_url_problem(url: str) -> str | None:
    """Why `url` cannot be the Management API's, or None. The token is sent there."""
    # urlsplit drops tabs and newlines without a word, and would approve of another URL.
    if any(char.isspace() or not char.isprintable() for char in url):
        return "contains a space or a control character"
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return "is not a URL"
    return _part_problem(parts) or _client_problem(url)


def _client_problem(url: str) -> str | None:
    """Why the client that asks would not take `url`: its grammar is narrower, and decides."""
    found = parse_api_url(url)
    return found.cause.removeprefix("the URL ") if isinstance(found, Failure) else None


def _part_problem(parts: SplitResult) -> str | None:
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "is not an https:// URL"
    # Everybody who sees a URL sees what is in it: logs, proxies, process lists.
    if parts.username is not None or parts.password is not None:
        return "contains a user or a password"
    if parts.query or parts.fragment:
        return "contains a query or a fragment"
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        return "would send the token unencrypted; http:// is for loopback only"
    return None


def state_directory(flag: Path | None, environ: Mapping[str, str]) -> Path | Refusal:
    """Where the journal lies: `flag`, else below the XDG state directory."""
    if flag is not None:
        return flag
    # The specification: a path that is not absolute is to be ignored.
    base = environ.get("XDG_STATE_HOME", "")
    if Path(base).is_absolute():
        return Path(base, "deployer")
    home = environ.get("HOME", "")
    if Path(home).is_absolute():
        return Path(home, ".local", "state", "deployer")
    return Refusal(
        what="there is no directory for the journal",
        where="HOME and XDG_STATE_HOME",
        remedy="pass --state-dir",
    )
