"""The states of a run and the only moves between them."""

from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """Where a run stands. The values are what the journal and `--json` show."""

    BUILDING = "building"  # cargo: the binary and the MCP servers
    IMAGING = "imaging"  # the engine: binaries, web dist, services -> image
    AUTHENTICATING = "authenticating"  # Management API: a login for the registry
    PUSHING = "pushing"  # the engine: image -> the tenant's repository
    DEPLOYING = "deploying"  # Management API: run this image, and prove that it runs
    DONE = "done"
    FAILED = "failed"

    @property
    def title(self) -> str:  # type: ignore[override]  # a name to show, not str.title()
        """The name as the documents write it: `Building`."""
        return self.value.capitalize()


FINAL: Final = (State.DONE, State.FAILED)
WORKING: Final = tuple(state for state in State if state not in FINAL)


class Event(StrEnum):
    """What happened, and therefore where the run goes next."""

    BUILT = "built"
    IMAGED = "imaged"
    AUTHENTICATED = "authenticated"
    PUSHED = "pushed"
    DEPLOYED = "deployed"
    FAILED = "failed"
    # A product that an earlier state left was looked for and is gone, or is another one.
    BINARY_GONE = "binary_gone"
    IMAGE_GONE = "image_gone"
    LOGIN_GONE = "login_gone"
    DIGEST_GONE = "digest_gone"
    RESUMED = "resumed"


class Move(NamedTuple):
    """One legal step of a run."""

    event: Event
    source: State
    dest: State

    @property
    def trigger(self) -> str:
        """The name under which the machine knows this move, and no other one."""
        return f"{self.event}: {self.source} to {self.dest}"


MOVES: Final = (
    Move(Event.BUILT, State.BUILDING, State.IMAGING),
    Move(Event.IMAGED, State.IMAGING, State.AUTHENTICATING),
    Move(Event.AUTHENTICATED, State.AUTHENTICATING, State.PUSHING),
    Move(Event.PUSHED, State.PUSHING, State.DEPLOYING),
    Move(Event.DEPLOYED, State.DEPLOYING, State.DONE),
    # Back: what a finished state left is verified, and may turn out to be gone.
    Move(Event.BINARY_GONE, State.IMAGING, State.BUILDING),
    Move(Event.IMAGE_GONE, State.PUSHING, State.IMAGING),
    Move(Event.LOGIN_GONE, State.PUSHING, State.AUTHENTICATING),
    Move(Event.DIGEST_GONE, State.DEPLOYING, State.AUTHENTICATING),
    # One row a state, no wildcard: "*" would let Done move to Failed.
    *(Move(Event.FAILED, state, State.FAILED) for state in WORKING),
    *(Move(Event.RESUMED, State.FAILED, state) for state in WORKING),
)


def is_further(one: State, other: State) -> bool:
    """Whether a run that stands in the working state `one` came further than `other`."""
    return one in WORKING and WORKING.index(one) > WORKING.index(other)


def move(event: Event, source: State, dest: State | None = None) -> Move:
    """Return the row for `event` in `source`; `dest` tells the `resumed` rows apart.

    Raises LookupError where the table has no such row: the caller has a bug.
    """
    for row in MOVES:
        if row.event is event and row.source is source and dest in (None, row.dest):
            return row
    raise LookupError(f"no move for {event} in {source}")
