"""What a run tells while it goes on: one typed stream for renderer, log and host."""

from dataclasses import dataclass
from typing import Literal

from deployer.failures import Failure
from deployer.names import RunId
from deployer.run import Builder, Facts
from deployer.states.flow import State

# -- Durable: each mirrors a row of the journal, is told after its commit and never dropped.


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpened:
    """A run began, with its first state."""

    state: State
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """A stored run goes on in this process."""

    state: State  # the one it goes on in
    resumes: int  # how often it was resumed, this time included


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEntered:
    """The work of a state begins."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRecorded:
    """A POST deploy is about to be sent, and the journal knows."""

    state: State
    attempt: int
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFinished:
    """The work of a state is done and committed."""

    state: State
    seconds: float
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRewound:
    """A product of an earlier state is gone: the run goes back to make it again."""

    state: State  # where it was found
    to: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run stopped in Failed."""

    state: State
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted:
    """The run was cancelled and stays in its state."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run reached Done."""

    state: State
    facts: Facts


# -- Transient: may be dropped when a reader is slow.


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the state's work is."""

    what: str  # "crates", "layer 1a2b3c", "upload"
    done: int
    total: int | None  # None: not known
    unit: Literal["items", "bytes"] = "items"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLine:
    """One line of cargo, of the engine or of a server, scrubbed."""

    source: str  # "cargo", "engine"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Nothing moves here: what is awaited, and for how many seconds at most."""

    what: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """The state is tried again after a pause."""

    cause: str
    attempt: int  # the one that comes
    tries: int
    seconds: float  # the pause


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know; the run goes on."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderChosen:
    """Who makes the image, and why."""

    builder: Builder
    why: str


Transient = Progress | OutputLine | Waiting | Retrying | Warned | BuilderChosen
Durable = (
    RunOpened
    | RunResumed
    | StateEntered
    | IntentRecorded
    | StateFinished
    | StateRewound
    | RunFailed
    | RunInterrupted
    | RunFinished
)
Body = Durable | Transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A body and whose it is. `seq` is the journal row's that a durable one mirrors."""

    run: RunId | None  # None: no run is open yet, another one's end is awaited
    tenant: str
    at: float  # seconds since the epoch, by the injected clock
    state: State
    seq: int | None
    body: Body
