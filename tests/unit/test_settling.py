"""What one look at the status tells of a POST that got no answer, and what a refusal does not."""

import pytest

from deployer.failures import Failure, Kind
from deployer.model import Deployment, TenantStatus
from deployer.run import Intent
from deployer.states.deploying import is_settled_by
from deployer.states.flow import State
from deployer.states.settling import IDEMPOTENT, Trace, reading

IMAGE, OTHER = "registry.fly.io/app:deploy-2", "registry.fly.io/app:deploy-1"


def intent(
    image: str | None = OTHER, deploy_id: str | None = "d1", *, known: bool = True
) -> Intent:
    return Intent(
        attempt=1,
        key="k",
        image=IMAGE,
        previous_image=image,
        previous_deploy_id=deploy_id,
        before_known=known,
    )


def status(image: str | None, deploy_id: str | None = None, *, names: bool = True) -> TenantStatus:
    return TenantStatus(
        deploy_status="running", image=image, deploy_id=deploy_id, names_images=names
    )


UNREADABLE = Failure(phase=State.DEPLOYING, kind=Kind.API_UNAVAILABLE, cause="503")


@pytest.mark.parametrize(
    ("sent", "seen", "trace"),
    [
        (intent(), status(IMAGE, "d2"), Trace.FOUND),
        (intent(), status(IMAGE), Trace.FOUND),
        (intent(), status(OTHER, "d1"), Trace.NONE_YET),
        (intent(None, None), status(None), Trace.NONE_YET),
        # The same image ran before: only a new deploy id shows that it was deployed again.
        (intent(IMAGE, "d1"), status(IMAGE, "d1"), Trace.NONE_YET),
        (intent(IMAGE, "d1"), status(IMAGE, "d2"), Trace.FOUND),
        # Without one, nothing ever will: sent again it might be done twice.
        (intent(IMAGE, None), status(IMAGE), Trace.UNTRACEABLE),
        (intent(None, None), status(IMAGE), Trace.FOUND),
        # Somebody else's, sent after ours: sending ours again would undo it.
        (intent(), status("registry.fly.io/app:theirs", "d3"), Trace.OVERTAKEN),
        (intent(None, None), status("registry.fly.io/app:theirs", "d3"), Trace.OVERTAKEN),
        # What ran before is not known: an unknown deploy may be an old one.
        (intent(None, None, known=False), status(OTHER, "d1"), Trace.NONE_YET),
        (intent(), UNREADABLE, Trace.UNREADABLE),
        (intent(), None, Trace.UNTRACEABLE),
        (intent(), status(None, names=False), Trace.UNTRACEABLE),
    ],
)
def test_a_look_at_the_status_tells(
    sent: Intent, seen: TenantStatus | Failure | None, trace: Trace
) -> None:
    assert reading(sent, seen, frozenset(), unique=False) is trace


def test_an_image_that_only_this_run_can_have_deployed_is_found_whatever_ran_before() -> None:
    blind, seen = intent(None, None, known=False), status(IMAGE, "d2")

    assert reading(blind, seen, frozenset(), unique=True) is Trace.FOUND
    assert reading(blind, seen, frozenset(), unique=False) is Trace.UNTRACEABLE


def test_where_keys_are_honoured_an_unseen_post_is_sent_again() -> None:
    honoured = frozenset({IDEMPOTENT})

    assert reading(intent(), status(OTHER, "d1"), honoured, unique=True) is Trace.SEND_AGAIN
    assert reading(intent(), status(IMAGE, "d2"), honoured, unique=True) is Trace.FOUND
    assert reading(intent(), None, honoured, unique=True) is Trace.SEND_AGAIN


@pytest.mark.parametrize("earlier", [None, intent()])
@pytest.mark.parametrize(
    ("kind", "settles"),
    [
        (Kind.UPDATE_FAILED, (True, True)),
        (Kind.DEPLOY_RUNNING, (True, False)),
        (Kind.NOT_SENT, (True, False)),
        (Kind.DEPLOY_LOGIN_REFUSED, (True, False)),
        (Kind.OUTCOME_UNKNOWN, (False, False)),
    ],
)
def test_a_refusal_tells_nothing_of_an_earlier_post(
    earlier: Intent | None, kind: Kind, settles: tuple[bool, bool]
) -> None:
    answer = Failure(phase=State.DEPLOYING, kind=kind, cause="as told")

    assert is_settled_by(answer, earlier) is settles[earlier is not None]


def test_a_deployment_settles_everything() -> None:
    assert is_settled_by(Deployment(deploy_status="running", url=None), intent())
