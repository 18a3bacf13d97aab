"""The values that states and adapters hand to each other. Nothing here does I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from deployer.names import ImageId


class Secret:
    """A value that shows itself to nobody but the caller of `reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hold `value`."""
        self._value = value

    def reveal(self) -> str:
        """The value. Each call is a place where it may leak: keep them few."""
        return self._value

    def __repr__(self) -> str:
        """Three stars, whatever the value."""
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Three stars, whatever the value and the format."""
        return "***"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError("a Secret cannot be pickled")

    def __bool__(self) -> bool:
        """Whether there is a value at all."""
        return bool(self._value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crate:
    """One `cargo build`: a manifest or a package, and the binaries it must leave."""

    name: str  # as shown: "core", "system-tools"
    manifest: Path | None = None  # relative to the project root: --manifest-path
    package: str | None = None  # -p
    binaries: tuple[str, ...] = ()  # empty: each binary that cargo reports is taken


def products(crates: Iterable[Crate]) -> frozenset[str]:
    """The programs that these crates name, as paths in the project."""
    return frozenset(f"target/release/{name}" for crate in crates for name in crate.binaries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A file that cargo left, as it was when Building ended."""

    name: str
    path: Path  # absolute
    size: int  # bytes
    sha256: str  # 64 hex digits
    package: str  # the cargo package, for `cargo clean -p`
    manifest: Path | None = None  # of the crate that built it, relative to the project root


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image at the engine."""

    image_id: ImageId
    local_tag: str  # private to the run: a second run can't move it
    architecture: str  # "amd64"
    os: str  # "linux"
    size: int  # bytes, as the engine counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What the registry-token call answers. Lives in memory only, never in a Run."""

    registry: str
    username: str
    password: Secret
    repository: str | None = None
    tag: str | None = None  # present on the server-tag contract: the only tag it accepts
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the Management API said of one POST deploy, or of one settled from its status."""

    deploy_status: str  # the server's word, scrubbed
    url: str | None
    deploy_id: str | None = None
    how: str = "posted"  # posted | replayed | found | told (by a person, with `settle`)
    previous_deploy_id: str | None = None  # what the tenant ran before
    health: str | None = None  # the public URL's word; None: not waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStatus:
    """The answer of `GET …/status`. Image and deploy id are extras that not each server has."""

    deploy_status: str
    message: str | None = None
    url: str | None = None
    image: str | None = None
    deploy_id: str | None = None
    names_images: bool = False  # the answer has the field, if only as null: nothing runs yet
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One look at the public URL."""

    healthy: bool
    word: str  # "healthy", "degraded", "503", "no answer: …"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The project's git state when the run began."""

    short_sha: str  # 7 or more hex digits, or "unknown"
    dirty: bool
    fingerprint: str  # hash over commit, changes and untracked names: equal inputs, equal text
    why_unknown: str | None = None  # set where `short_sha` is unknown
