"""A run: what was asked for, what it left so far, and how it stands in the history."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from deployer.failures import Failure
from deployer.model import Binary, Crate, Deployment, Image, Revision
from deployer.names import Digest, ImageRef, RunId, parse_repository, parse_tag, parse_tenant
from deployer.states.flow import Event, State


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
    foreign_apps: frozenset[str] = frozenset()  # of other tenants: their repositories are refused
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
            parse_repository(self.app)
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
    digest: Digest | None = None  # what the image's name meant then, where it could be read


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
