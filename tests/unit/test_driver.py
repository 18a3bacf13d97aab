"""A run among its neighbours: failures, steps back, resumes, and exactly one deploy."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from deployer.events import Event, Retrying, StateRewound
from deployer.failures import ExitCode, Failure, Kind
from deployer.model import Login, Secret
from deployer.run import Outcome, WaitPolicy
from deployer.states.flow import WORKING, State
from tests.fakes.deployers import deployer, request
from tests.fakes.neighbours import LOGIN, Clock, Neighbours

pytestmark = pytest.mark.anyio

# Which call of the neighbours does a state's work, and a failure that is final there.
WORK = {
    State.BUILDING: ("compile", Kind.COMPILE_ERROR),
    State.IMAGING: ("image", Kind.DOCKERFILE_SYNTAX),
    State.AUTHENTICATING: ("login", Kind.TENANT_FORBIDDEN),
    State.PUSHING: ("push", Kind.REPOSITORY_DENIED),
    State.DEPLOYING: ("deploy", Kind.UPDATE_FAILED),
}


def failing(call: str, phase: State, kind: Kind, times: int = 1) -> dict[str, deque[Failure]]:
    return {call: deque([Failure(phase=phase, kind=kind, cause="as told")] * times)}


async def test_a_run_goes_through_the_five_states_and_is_done(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert result.exit_code == 0
    assert result.image == "registry.fly.io/sp-ten-1:deploy-1795608000-a1b2c3d"
    assert of.deployed == [result.image]
    assert result.url == "https://app.example"
    assert [phase.state for phase in result.phases if phase.entered] == list(WORKING)


@pytest.mark.parametrize("phase", WORKING)
async def test_a_failure_in_any_state_ends_in_failed_and_resumes_to_done(
    tmp_path: Path, phase: State
) -> None:
    call, kind = WORK[phase]
    of = Neighbours()
    # The preflight has its own look at the login; the failure comes after it.
    of.fails = failing(call, phase, kind)
    if call == "login":
        of.fails["login"].appendleft(None)  # type: ignore[arg-type]

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
        done_before = list(of.calls)
        again = await here.resume("ten_1")

    assert failed.state is State.FAILED
    assert failed.failure is not None
    assert (failed.failure.kind, failed.failure.phase) == (kind, phase)
    assert failed.exit_code == ExitCode.BY_PHASE[phase]
    assert again.state is State.DONE
    assert again.run_id == failed.run_id
    assert of.deployed == [again.image]
    finished = [WORK[state][0] for state in WORKING if state is not phase][: WORKING.index(phase)]
    redone = of.calls[len(done_before) :]
    assert not set(finished) & set(redone) - {"login"}


@pytest.mark.parametrize("phase", WORKING)
async def test_a_cancelled_run_stays_in_its_state_and_resumes_to_one_deploy(
    tmp_path: Path, phase: State
) -> None:
    of = Neighbours(honours_keys=True)
    of.hang_in = WORK[phase][0] if phase is not State.AUTHENTICATING else None

    async with deployer(tmp_path, of) as here, anyio.create_task_group() as group:
        group.start_soon(here.deploy, request(tmp_path))
        if of.hang_in:
            await of.hanging.wait()
        else:
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    of.hang_in = None

    async with deployer(tmp_path, of) as next_process:
        stood = (await next_process.history())[0:1]
        if stood:
            result = await next_process.resume("ten_1")
        else:  # cancelled before there was a run
            result = await next_process.deploy(request(tmp_path))

    if phase is not State.AUTHENTICATING:
        assert stood[0].run.state is phase
    assert result.state is State.DONE
    assert len(of.deployed) == 1


async def test_a_host_that_cancels_its_own_task_twice_loses_nothing(tmp_path: Path) -> None:
    of = Neighbours(hang_in="push")

    async def host() -> None:
        async with deployer(tmp_path, of) as here:
            await here.deploy(request(tmp_path))

    import asyncio  # noqa: PLC0415, TID251  # the host's loop, not ours

    task = asyncio.ensure_future(host())
    await of.hanging.wait()
    task.cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    of.hang_in = None
    async with deployer(tmp_path, of) as here:
        (record,) = await here.history()
        assert record.run.state is State.PUSHING
        assert (await here.resume("ten_1")).state is State.DONE


async def test_a_transient_failure_is_tried_again_and_each_pause_is_told(tmp_path: Path) -> None:
    of = Neighbours(fails=failing("push", State.PUSHING, Kind.REGISTRY_UNAVAILABLE, times=2))
    told: list[Event] = []

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path), on_event=told.append)

    assert result.state is State.DONE
    retries = [event.body for event in told if isinstance(event.body, Retrying)]
    assert [(retry.attempt, retry.tries) for retry in retries] == [(2, 3), (3, 3)]
    assert "P05" in retries[0].cause


async def test_tries_end_where_the_catalogue_says(tmp_path: Path) -> None:
    of = Neighbours(fails=failing("push", State.PUSHING, Kind.REGISTRY_UNAVAILABLE, times=9))

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.REGISTRY_UNAVAILABLE
    assert of.calls.count("push") == Kind.REGISTRY_UNAVAILABLE.retry.tries


async def test_a_push_is_repeated_after_ten_and_thirty_seconds(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    of.fails = failing("push", State.PUSHING, Kind.PUSH_CUT, times=2)

    async with deployer(tmp_path, of, clock) as here:
        await here.deploy(request(tmp_path))

    assert clock.slept == [10.0, 30.0]


async def test_pauses_of_a_state_never_exceed_their_budget(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    of.fails = failing("deploy", State.DEPLOYING, Kind.DEPLOY_RUNNING, times=200)

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.id == "D05"
    assert sum(clock.slept) == Kind.DEPLOY_RUNNING.retry.budget
    assert max(clock.slept) <= 10


async def test_a_longer_wait_than_two_minutes_is_left_to_the_user(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    busy = Failure(
        phase=State.DEPLOYING, kind=Kind.DEPLOY_RATE_LIMIT, cause="slow down", retry_after=121.0
    )
    of.fails = {"deploy": deque([busy])}

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.retry_after == 121.0
    assert clock.slept == []


async def test_a_request_that_the_server_still_works_on_is_followed_not_repeated(
    tmp_path: Path,
) -> None:
    of = Neighbours(honours_keys=True)
    of.fails = {
        "deploy": deque(
            [
                Failure(
                    phase=State.DEPLOYING, kind=Kind.KEY_IN_PROGRESS, cause="busy", retry_after=1.0
                )
            ]
        )
    }

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert of.deployed == [result.image]


async def test_a_server_that_asks_for_patience_gets_it(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    busy = Failure(
        phase=State.DEPLOYING, kind=Kind.DEPLOY_RATE_LIMIT, cause="slow down", retry_after=7.0
    )
    of.fails = {"deploy": deque([busy])}

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert 7.0 in clock.slept


async def test_a_refused_login_is_renewed_once(tmp_path: Path) -> None:
    of = Neighbours(fails=failing("push", State.PUSHING, Kind.LOGIN_EXPIRED))

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert of.calls.count("push") == 2


async def test_a_login_that_is_refused_when_fresh_is_refused_for_good(tmp_path: Path) -> None:
    of = Neighbours(fails=failing("push", State.PUSHING, Kind.REGISTRY_AUTH, times=9))

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.resolution == "Check credentials, re-login"
    assert result.exit_code == 13
    assert of.calls.count("push") == 2


@pytest.mark.parametrize(
    ("lose", "back_to"),
    [
        (lambda of: setattr(of, "damaged_binaries", ("systemprompt",)), State.BUILDING),
        (lambda of: of.images.clear(), State.IMAGING),
        (lambda of: of.manifests.clear(), State.AUTHENTICATING),
    ],
)
async def test_a_lost_product_sends_the_run_back_along_its_edge(
    tmp_path: Path, lose: object, back_to: State
) -> None:
    assert callable(lose)
    call, phase = {
        State.BUILDING: ("image", State.IMAGING),
        State.IMAGING: ("push", State.PUSHING),
        State.AUTHENTICATING: ("deploy", State.DEPLOYING),
    }[back_to]
    of = Neighbours(fails=failing(call, phase, Kind.DOCKERFILE_SYNTAX))
    told: list[Event] = []

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
        lose(of)
        # The resume enters where it failed, or where the product should be.
        result = await here.resume("ten_1", on_event=told.append)

    assert failed.state is State.FAILED
    assert result.state is State.DONE
    assert len(of.deployed) == 1
    back = [each.body for each in told if isinstance(each.body, StateRewound)]
    assert any(body.state is phase and body.to is back_to for body in back)


async def test_a_run_that_never_gets_further_is_ended(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        of.fails = failing("push", State.PUSHING, Kind.REPOSITORY_DENIED, times=99)
        result = await here.deploy(request(tmp_path))
        for _ in range(30):
            result = await here.resume("ten_1")
            if result.failure is not None and result.failure.kind is Kind.LOOPING:
                break

    assert result.failure is not None
    assert result.failure.kind is Kind.LOOPING


async def test_an_answer_that_was_lost_is_found_in_the_status(tmp_path: Path) -> None:
    of = Neighbours(loses_answers=1)
    of.fails = failing("deploy", State.DEPLOYING, Kind.OUTCOME_UNKNOWN)

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert of.deployed == [result.image]


async def test_an_unanswered_post_is_sent_again_at_once_where_keys_are_honoured(
    tmp_path: Path,
) -> None:
    of, clock = Neighbours(honours_keys=True), Clock()
    of.fails = failing("deploy", State.DEPLOYING, Kind.OUTCOME_UNKNOWN)

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert len(of.deployed) == 1
    assert sum(clock.slept) < 60


async def test_where_keys_are_honoured_a_server_gets_time_to_come_back(tmp_path: Path) -> None:
    of, clock = Neighbours(honours_keys=True), Clock()
    away = Failure(phase=State.DEPLOYING, kind=Kind.SERVER_ERROR, cause="503")
    of.fails = {"deploy": deque([away] * 4)}

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert len(of.deployed) == 1
    assert clock.slept


async def test_where_keys_are_honoured_each_resume_sends_an_unanswered_post_again(
    tmp_path: Path,
) -> None:
    of = Neighbours(honours_keys=True)
    away = Failure(phase=State.DEPLOYING, kind=Kind.SERVER_ERROR, cause="503")
    of.fails = {"deploy": deque([away] * 6)}

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))
        vainly = await here.resume("ten_1")
        resumed = await here.resume("ten_1")

    assert [result.exit_code, vainly.exit_code] == [ExitCode.UNKNOWN] * 2
    assert resumed.state is State.DONE
    assert len(of.deployed) == 1


async def test_elsewhere_it_is_sent_again_only_after_the_whole_settle_window(
    tmp_path: Path,
) -> None:
    of, clock = Neighbours(), Clock()
    of.fails = failing("deploy", State.DEPLOYING, Kind.OUTCOME_UNKNOWN)

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path, wait=WaitPolicy(settle=100)))

    assert result.state is State.DONE
    assert len(of.deployed) == 1
    assert sum(clock.slept) >= 100


async def test_a_server_that_never_tells_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    of = Neighbours(names_images=False, loses_answers=1)
    of.fails = failing("deploy", State.DEPLOYING, Kind.OUTCOME_UNKNOWN)

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))
        resumed = await here.resume("ten_1")
        another = await here.deploy(request(tmp_path))

    assert [each.exit_code for each in (result, resumed, another)] == [ExitCode.UNKNOWN] * 3
    assert len(of.deployed) == 1


@pytest.mark.parametrize("call", ["digest", "deploy"])
async def test_what_fails_beside_an_unanswered_post_does_not_hide_it(
    tmp_path: Path, call: str
) -> None:
    of = Neighbours(honours_keys=True)
    of.hang_in = "deploy"
    async with deployer(tmp_path, of) as here:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(here.deploy, request(tmp_path))
                await of.hanging.wait()
                scope.cancel()
        of.hang_in = None
        of.fails = failing(call, State.DEPLOYING, Kind.DEPLOY_LOGIN_REFUSED)
        refused = await here.resume("ten_1")
        stored = await here.history("ten_1", 1)
        blocked = await here.deploy(request(tmp_path))
        again = await here.resume("ten_1")

    assert refused.exit_code == ExitCode.UNKNOWN
    assert refused.failure is not None
    assert "D02 as told" in refused.failure.cause
    assert stored[0].outcome is Outcome.UNKNOWN
    assert blocked.exit_code == ExitCode.UNKNOWN
    assert again.state is State.DONE
    assert len(of.deployed) == 1


async def test_a_failed_update_is_posted_anew_under_another_key(tmp_path: Path) -> None:
    of = Neighbours(honours_keys=True)
    of.deploy_status = "failed"

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
        of.deploy_status = "running"
        result = await here.resume("ten_1")

    assert failed.failure is not None
    assert failed.failure.resolution == "Check Fly.io status"
    assert result.state is State.DONE
    assert len(of.deployed) == 2
    assert len(of.keys) == 2


async def test_an_unhealthy_app_is_not_deployed_again_by_resume(tmp_path: Path) -> None:
    of = Neighbours(healthy=False)

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
        of.healthy = True
        result = await here.resume("ten_1")

    assert failed.exit_code == ExitCode.UNHEALTHY
    assert result.state is State.DONE
    assert len(of.deployed) == 1


async def test_no_wait_stops_after_the_post(tmp_path: Path) -> None:
    of = Neighbours(healthy=False, deploy_status="deploying")

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, wait=WaitPolicy(wait=False)))

    assert result.state is State.DONE
    assert result.deploy_status == "deploying"
    assert "health" not in of.calls


async def test_the_server_s_own_tag_is_used_exactly(tmp_path: Path) -> None:
    of = Neighbours(
        login=replace(LOGIN, repository="systemprompt-images", tag="tenant-ten_1"),
    )

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.image == "registry.fly.io/systemprompt-images:tenant-ten_1"


async def test_another_tag_than_the_server_s_is_refused_before_the_compile(tmp_path: Path) -> None:
    of = Neighbours(login=replace(LOGIN, tag="tenant-ten_1"))

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, tag="v1.0.0"))

    assert result.refused
    assert result.exit_code == ExitCode.REFUSED
    assert result.failure is not None
    assert "tenant-ten_1" in result.failure.cause
    assert "compile" not in of.calls


async def test_another_tenant_s_repository_is_refused_before_the_compile(tmp_path: Path) -> None:
    of = Neighbours(login=replace(LOGIN, repository="sp-ten-2"))

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, foreign_apps=frozenset({"sp-ten-2"})))
        other = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.LOGIN_UNUSABLE
    assert "sp-ten-2" in result.failure.cause
    assert other.state is State.DONE


async def test_a_bug_ends_in_failed_and_shows_no_secret(tmp_path: Path) -> None:
    of = Neighbours()

    def broken(name: str) -> Login:
        raise ValueError("registry-password in a message")

    of.images = Broken()  # type: ignore[assignment]
    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.exit_code == ExitCode.BUG
    assert result.failure is not None
    assert LOGIN.password.reveal() not in str(result.failure)


class Broken(dict[str, str]):
    """An engine whose answer breaks us, with a secret in the message."""

    def get(self, key: str, default: object = None) -> str:
        secret: Secret = LOGIN.password
        raise KeyError(f"no {secret.reveal()}")


async def test_a_step_back_says_why(tmp_path: Path) -> None:
    of = Neighbours(fails=failing("push", State.PUSHING, Kind.LOGIN_EXPIRED))
    told: list[Event] = []

    async with deployer(tmp_path, of) as here:
        await here.deploy(request(tmp_path), on_event=told.append)

    back = [event.body for event in told if isinstance(event.body, StateRewound)]
    assert [(row.state, row.to, row.reason) for row in back] == [
        (State.PUSHING, State.AUTHENTICATING, "as told")
    ]
