"""The values that a deploy is made of. Nothing here does I/O or keeps a secret in the open."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NewType, NoReturn, Self

from deployer.failures import Failure
from deployer.states.flow import Event, State

RunId = NewType("RunId", str)
Digest = NewType("Digest", str)  # sha256:<64 hex>, of a manifest at the registry
ImageId = NewType("ImageId", str)  # sha256:<64 hex>, of a config at the engine

# The grammar of the distribution specification. A name that a server chose reaches the engine's
# and the registry's URLs: one with `..` in it called another endpoint of the engine (measured).
_REGISTRY: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[::1\])(?::[0-9]{1,5})?"
)
_REPOSITORY: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
REPOSITORY_MAX: Final = 255


class InvalidNameError(ValueError):
    """A name from outside that its grammar refuses; the message says which and why."""


def _parsed(text: str, grammar: re.Pattern[str], what: str) -> str:
    if not grammar.fullmatch(text):
        raise InvalidNameError(f"{text[:140]!r} is not a valid {what}")
    return text


def parse_tag(text: str) -> str:
    """Return `text` if it is an image tag, else raise InvalidNameError."""
    return _parsed(text, _TAG, "image tag (letters, digits, '_', '.', '-'; at most 128)")


def parse_tenant(text: str) -> str:
    """Return `text` if it can be a tenant id in a URL path, else raise InvalidNameError."""
    return _parsed(text, _TENANT, "tenant id")


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest (`sha256:` and 64 hex digits), else raise InvalidNameError."""
    return Digest(_parsed(text, _DIGEST, "sha256 digest"))


def parse_image_id(text: str) -> ImageId:
    """Return `text` as an image id (`sha256:` and 64 hex digits), else raise InvalidNameError."""
    return ImageId(_parsed(text, _DIGEST, "image id"))


@dataclass(frozen=True, slots=True)
class ImageRef:
    """`registry/repository:tag`, each part checked by its grammar."""

    registry: str
    repository: str
    tag: str

    def __post_init__(self) -> None:
        """Raise InvalidNameError for a part that its grammar refuses."""
        _parsed(self.registry, _REGISTRY, "registry host")
        _parsed(self.repository, _REPOSITORY, "repository")
        if len(self.repository) > REPOSITORY_MAX:
            raise InvalidNameError(f"repository is longer than {REPOSITORY_MAX} characters")
        parse_tag(self.tag)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `registry/repository:tag`; raise InvalidNameError for anything else."""
        registry, slash, rest = text.partition("/")
        repository, colon, tag = rest.rpartition(":")
        if not (slash and colon):
            raise InvalidNameError(f"{text[:140]!r} is not registry/repository:tag")
        return cls(registry, repository, tag)

    @property
    def name(self) -> str:
        """The reference without its tag."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        """The reference as engines and the Management API write it."""
        return f"{self.name}:{self.tag}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitPolicy:
    """How long to wait, in seconds, for the deployed image to prove itself."""

    wait: bool = True  # False: stop after the POST
    timeout: float = 300.0  # for status and health together
    stability: float = 0.0  # the URL must stay healthy for so long
    settle: float = 900.0  # an unanswered POST is settled only after so long without a trace


class Builder(StrEnum):
    """Who makes a run's image; fixed when it starts."""

    ENGINE = "engine"
    DIRECT = "direct"  # deployer itself: FROM, COPY and settings need no engine


class BuilderWish(StrEnum):
    """Which builder a caller wants."""

    AUTO = "auto"  # the engine where one answers, else deployer itself
    ENGINE = "engine"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """What a caller asks for. Equal requests may be asked twice; each starts a run of its own."""

    tenant: str  # id at the Management API
    project_root: Path
    app: str | None = None  # the tenant's Fly app: repository where the server names none
    hostname: str | None = None  # where the app answers if the server names no URL
    dockerfile: Path = Path(".systemprompt/Dockerfile")  # relative to the project root
    tag: str | None = None  # None: deploy-{unix_ts}-{short_sha}
    skip_push: bool = False  # deploy an image that the registry already has
    # Where skip_push is set and tag is not: the last deployed tag is taken from history.
    digest: Digest | None = None  # what `tag` must point at (rollback); None: whatever it is
    profile: str | None = None
    message: str | None = None  # why, for the history
    wait: WaitPolicy = field(default_factory=WaitPolicy)
    builder: BuilderWish = BuilderWish.AUTO
    new: bool = False  # deploy even if an equal run is done and its result was never heard

    def __post_init__(self) -> None:
        """Raise InvalidNameError for a tenant, app or tag that its grammar refuses."""
        parse_tenant(self.tenant)
        if self.app is not None:
            _parsed(self.app, _REPOSITORY, "app id")
        if self.tag is not None:
            parse_tag(self.tag)


class OnLock(StrEnum):
    """What to do while another process deploys the tenant."""

    FAIL = "fail"  # give up at once
    WAIT = "wait"  # until it is free
    REPLACE = "replace"  # wait, and make those give up that wait already


class Settlement(StrEnum):
    """What a person knows of a POST that got no answer."""

    DEPLOYED = "deployed"
    NOT_DEPLOYED = "not-deployed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does, fixed when it starts and never recomputed at resume."""

    request: DeployRequest
    crates: tuple[Crate, ...]
    tag: str  # where the server names a tag, that one decides
    revision: Revision
    key: str  # Idempotency-Key: one a run, the same at each attempt
    builder: Builder = Builder.ENGINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What finished states left, committed with the move that ended them."""

    binaries: tuple[Binary, ...] = ()
    image: Image | None = None
    target: ImageRef | None = None
    digest: Digest | None = None
    deployment: Deployment | None = None  # the answer to the POST, also before it is proven
    failed_updates: int = 0  # POSTs that the server tried and said had failed


@dataclass(frozen=True, slots=True)
class Step:
    """A state's work is done, or a product it needs is gone; `facts` are committed with the move."""

    event: Event
    facts: Facts
    reason: str = ""  # of a step back


StateOutcome = Step | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A POST deploy about to be sent. Stored before its first byte, closed by a definite answer."""

    attempt: int
    key: str  # Idempotency-Key
    image: str
    previous_image: str | None  # what the status named before, where it names images
    previous_deploy_id: str | None
    before_known: bool = True  # False: the status could not be read before


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One deploy from its start to Done or Failed, over any number of processes."""

    id: RunId
    plan: Plan
    state: State
    facts: Facts = Facts()
    intent: Intent | None = None  # open: its outcome is not known
    failure: Failure | None = None  # set in Failed
    fence: int = 1  # rises with each process that takes the run over
    seq: int = 0  # of the last event
    resumes: int = 0
    furthest: State = State.BUILDING  # the latest working state that was ever entered
    stalled: int = 0  # resumes since it was entered
    acknowledged: bool = False  # somebody heard the result
    abandoned: bool = False  # a newer run took its place
    opened_at: float = 0.0  # seconds since the epoch
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How long one working state took in all, over every process that was in it."""

    state: State
    seconds: float
    entered: int  # times; 0: skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One row of a run's history."""

    seq: int
    at: float  # seconds since the epoch
    kind: str
    state: State
    data: dict[str, Any]


class Outcome(StrEnum):
    """How a run stands, in one word for people and scripts."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"  # a POST was sent and its outcome is not known
    INTERRUPTED = "interrupted"  # stopped or killed; `resume` goes on
    RUNNING = "running"  # a process holds it
    ABANDONED = "abandoned"  # interrupted, and a newer run took its place


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One line of the deployment history."""

    run: Run
    outcome: Outcome
    phases: tuple[Phase, ...] = ()
    events: tuple[StoredEvent, ...] = ()  # only where one run is shown

    @property
    def image(self) -> str | None:
        """The reference that was, or would have been, deployed."""
        return str(self.run.facts.target) if self.run.facts.target else None
