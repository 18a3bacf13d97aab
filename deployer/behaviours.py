"""What can happen to a deploy and is no failure, or is reported as one of another name: for `explain`."""

from dataclasses import dataclass
from typing import Final

from deployer.failures import Kind
from deployer.states.flow import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Something that is met and dealt with."""

    id: str
    name: str
    phase: State | None  # None: the tool itself
    text: str
    reported: Kind | None = None  # the failure it ends in, if it ends in one


BEHAVIOURS: Final = (
    Behaviour(
        id="B15",
        name="build cancelled",
        phase=State.BUILDING,
        text=(
            "The run was cancelled while cargo worked. cargo and all that it had started are ended "
            "before the run is; what was compiled stays in target/. `deployer resume` goes on."
        ),
    ),
    Behaviour(
        id="I18",
        name="image gone",
        phase=State.IMAGING,
        text=(
            "The engine no longer has the image that Imaging left, or has another one under its "
            "name. The run goes back to Imaging by itself and says so."
        ),
    ),
    Behaviour(
        id="I20",
        name="image build cancelled",
        phase=State.IMAGING,
        text=(
            "The run was cancelled during the build of the image. The connection is closed, and "
            "with it the engine ends the step within a second. `deployer resume` goes on."
        ),
    ),
    Behaviour(
        id="P16",
        name="push cancelled",
        phase=State.PUSHING,
        text=(
            "The run was cancelled or killed during the push. Layers that the registry has taken "
            "stay there; an unfinished one is sent again from its beginning. The resume fetches a "
            "new login: none is ever stored."
        ),
    ),
    Behaviour(
        id="D13",
        name="answer too slow",
        phase=State.DEPLOYING,
        text=(
            "An answer that comes byte by byte is cut off at the deadline of the whole call. "
            "The work may be done."
        ),
        reported=Kind.OUTCOME_UNKNOWN,
    ),
    Behaviour(
        id="D14",
        name="answer too large",
        phase=State.DEPLOYING,
        text="An answer of more than 1 MiB is not read to its end. The work may be done.",
        reported=Kind.ANSWER_UNREADABLE,
    ),
    Behaviour(
        id="T01",
        name="killed",
        phase=None,
        text=(
            "A process that was killed, or a machine that went down, leaves its run open in the "
            "journal. `deployer resume` goes on where it stood; a lock never outlives its process."
        ),
    ),
    Behaviour(
        id="T02",
        name="stopped by a signal",
        phase=None,
        text=(
            "INT, TERM and HUP stop the run and clean up within seconds; a second one ends the "
            "process at once. A request to deploy that is on its way gets two seconds to be "
            "answered. The exit code is 128 and the signal's number, or that of an unknown outcome."
        ),
    ),
    Behaviour(
        id="T04",
        name="another host deploys the tenant",
        phase=None,
        text="The lock is this machine's alone; the Management API tells of deploys from elsewhere.",
        reported=Kind.DEPLOY_RUNNING,
    ),
    Behaviour(
        id="T10",
        name="journal busy",
        phase=None,
        text=(
            "Another process writes the journal at this moment. It is waited for, up to five "
            "seconds; transactions take the write lock when they begin, so none fails half-way."
        ),
        reported=Kind.STATE_IO,
    ),
    Behaviour(
        id="T11",
        name="clock set",
        phase=None,
        text=(
            "Durations and deadlines are taken from a clock that is never set, and the tag's time "
            "is fixed when the run starts: a step of the wall clock changes neither. `deployer "
            "doctor` compares this machine's clock with the Management API's."
        ),
    ),
    Behaviour(
        id="T12",
        name="machine slept",
        phase=None,
        text=(
            "No connection is kept between requests, so none is found dead after a sleep. A request "
            "to deploy that was on its way is treated as unanswered, and a login that has ended "
            "meanwhile is fetched again."
        ),
    ),
    Behaviour(
        id="T13",
        name="project changed since the run began",
        phase=None,
        text=(
            "A resume says so as a warning and goes on under the run's own tag, because a fixed "
            "file is the usual reason to resume. `deployer deploy` starts anew with a tag of its own."
        ),
    ),
    Behaviour(
        id="T14",
        name="output closed",
        phase=None,
        text=(
            "Whoever read the output has gone. The run goes on silently, and `deployer show` tells "
            "of it afterwards."
        ),
    ),
)
