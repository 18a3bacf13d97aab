"""The embedding interface among in-memory neighbours."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from deployer.api import Deployer
from deployer.errors import BusyError, DeployError
from deployer.events import Event, RunFinished, RunOpened, StateEntered, Warned
from deployer.failures import ExitCode, Failure, Kind
from deployer.model import Revision
from deployer.run import Outcome
from deployer.states.flow import WORKING, State
from tests.fakes.deployers import adapters, deployer, request
from tests.fakes.neighbours import LOGIN, REVISION, Clock, Neighbours, sha

pytestmark = pytest.mark.anyio
NAME = "registry.fly.io/sp-ten-1"


async def test_skip_push_with_a_tag_compiles_and_builds_nothing(tmp_path: Path) -> None:
    of = Neighbours(manifests={f"{NAME}:v1": sha("v1")})  # type: ignore[dict-item]

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, skip_push=True, tag="v1"))

    assert result.state is State.DONE
    assert result.digest == sha("v1")
    assert of.deployed == [f"{NAME}:v1"]
    assert not {"check", "survey", "ping", "compile", "image", "push"} & set(of.calls)


async def test_skip_push_of_an_image_that_is_not_there_says_so_and_resumes(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path, skip_push=True, tag="v1"))
        of.manifests[f"{NAME}:v1"] = sha("v1")  # type: ignore[assignment]
        result = await here.resume("ten_1")

    assert failed.failure is not None
    assert failed.failure.resolution == "Ensure push completed"
    assert failed.exit_code == 14
    assert result.state is State.DONE


async def test_a_dry_run_looks_for_an_image_that_is_to_be_there(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        absent = await here.preflight(request(tmp_path, skip_push=True, tag="v1"))
        unnamed = await here.preflight(request(tmp_path, skip_push=True))
        of.fails["digest"] = deque([denied()])
        unread = await here.preflight(request(tmp_path, skip_push=True, tag="v1"))
        of.manifests[f"{NAME}:v1"] = sha("v1")  # type: ignore[assignment]
        there = await here.preflight(request(tmp_path, skip_push=True, tag="v1"))

    assert absent.failure is not None
    assert absent.failure.kind is Kind.IMAGE_NOT_FOUND
    assert unnamed.failure is not None
    assert unnamed.failure.kind is Kind.NO_SUCH_RUN
    assert unread.failure is there.failure is None


def denied() -> Failure:
    return Failure(phase=State.PUSHING, kind=Kind.REPOSITORY_DENIED, cause="403")


async def test_skip_push_alone_takes_the_last_deployed_tag(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        first = await here.deploy(request(tmp_path))
        again = await here.deploy(request(tmp_path, skip_push=True))

    assert of.deployed == [first.image, first.image]
    assert again.digest == first.digest


async def test_skip_push_alone_without_history_is_refused(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, skip_push=True))

    assert result.refused
    assert result.exit_code == ExitCode.REFUSED
    assert of.deployed == []


async def test_runs_of_one_commit_within_a_second_have_tags_of_their_own(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        runs = [await here.deploy(request(tmp_path, new=True)) for _ in range(3)]

    began = int(Clock().wall())
    assert of.deployed == [run.image for run in runs]
    assert [str(run.image).rpartition(":")[2] for run in runs] == [
        f"deploy-{began + later}-{REVISION.short_sha}" for later in range(3)
    ]


async def test_a_tag_that_the_caller_names_may_be_deployed_again(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        runs = [await here.deploy(request(tmp_path, new=True, tag="v1")) for _ in range(2)]

    assert [str(run.image) for run in runs] == [f"{NAME}:v1"] * 2


async def test_rollback_goes_to_the_image_before_the_current_one(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()

    async with deployer(tmp_path, of, clock) as here:
        one = await here.deploy(request(tmp_path))
        clock.now += 60
        two = await here.deploy(request(tmp_path))
        back = await here.rollback(request(tmp_path))
        forth = await here.rollback(request(tmp_path), to=two.run_id)

    assert one.digest != two.digest
    assert of.deployed == [one.image, two.image, one.image, two.image]
    assert back.digest == one.digest
    assert forth.digest == two.digest
    assert of.calls.count("compile") == 2


async def test_rollback_on_one_mutable_tag_puts_the_older_digest_back(tmp_path: Path) -> None:
    of, clock = Neighbours(login=replace(LOGIN, tag="tenant-ten_1")), Clock()

    async with deployer(tmp_path, of, clock) as here:
        one = await here.deploy(request(tmp_path))
        clock.now += 60
        two = await here.deploy(request(tmp_path))
        back = await here.rollback(request(tmp_path))

    assert one.image == two.image == back.image
    assert back.digest == one.digest != two.digest
    assert of.manifests[str(back.image)] == one.digest


async def test_rollback_that_the_registry_refuses_is_a_clear_refusal(tmp_path: Path) -> None:
    of, clock = Neighbours(login=replace(LOGIN, tag="tenant-ten_1")), Clock()

    async with deployer(tmp_path, of, clock) as here:
        await here.deploy(request(tmp_path))
        clock.now += 60
        await here.deploy(request(tmp_path))
        denied = Failure(phase=State.PUSHING, kind=Kind.REPOSITORY_DENIED, cause="denied")
        of.fails["retag"] = deque([denied])
        result = await here.rollback(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.NO_ROLLBACK
    assert len(of.deployed) == 2


@pytest.mark.parametrize("to", [None, "v9", "0000000000000000"])
async def test_rollback_without_an_earlier_image_is_refused(tmp_path: Path, to: str | None) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        await here.deploy(request(tmp_path))
        result = await here.rollback(request(tmp_path), to=to)

    assert result.refused
    assert len(of.deployed) == 1


async def test_a_finished_run_that_nobody_heard_of_is_reported_not_repeated(
    tmp_path: Path,
) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        first = await here.deploy(request(tmp_path), acknowledge=False)
        again = await here.deploy(request(tmp_path), acknowledge=False)
        assert first.run_id is not None
        await here.acknowledge(first.run_id)
        third = await here.deploy(request(tmp_path))

    assert again.found_finished
    assert again.run_id == first.run_id
    assert third.run_id != first.run_id
    assert len(of.deployed) == 2


@pytest.mark.parametrize("changes", [{"new": True}, {"tag": "v2"}])
async def test_another_wish_is_another_run(tmp_path: Path, changes: dict[str, object]) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        first = await here.deploy(request(tmp_path), acknowledge=False)
        again = await here.deploy(request(tmp_path, **changes))

    assert first.run_id != again.run_id
    assert len(of.deployed) == 2


async def test_what_comes_next_is_loaded_beside_the_questions_to_git(tmp_path: Path) -> None:
    of, asked, loaded = Neighbours(), anyio.Event(), anyio.Event()

    class Slow(Neighbours):
        async def revision(self, project_root: Path) -> Revision:
            asked.set()
            await loaded.wait()
            return await super().revision(project_root)

    async def prepare() -> None:
        await asked.wait()
        loaded.set()

    around = replace(adapters(tmp_path, of, Clock()), source=Slow(), prepare=prepare)
    with anyio.fail_after(5):
        async with Deployer(around) as here:
            result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE


async def test_a_second_run_of_a_tenant_is_refused_and_another_tenant_is_not(
    tmp_path: Path,
) -> None:
    of, other = Neighbours(hang_in="compile"), Neighbours()

    async with (
        deployer(tmp_path, of) as here,
        deployer(tmp_path, other) as there,
        anyio.create_task_group() as group,
    ):
        group.start_soon(here.deploy, request(tmp_path))
        await of.hanging.wait()
        with pytest.raises(BusyError):
            await there.deploy(request(tmp_path))
        result = await there.deploy(replace(request(tmp_path), tenant="ten_2"))
        group.cancel_scope.cancel()

    assert result.state is State.DONE


async def test_a_failing_preflight_starts_nothing(tmp_path: Path) -> None:
    missing = Failure(phase=State.IMAGING, kind=Kind.WEB_DIST_MISSING, cause="core/web/dist/")
    of = Neighbours(fails={"survey": deque([missing])})

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))
        runs = await here.history()

    assert result.refused
    assert result.exit_code == ExitCode.REFUSED
    assert result.failure == missing
    assert runs == ()
    assert "compile" not in of.calls


async def test_the_preflight_reports_all_that_is_wrong(tmp_path: Path) -> None:
    missing = Failure(phase=State.IMAGING, kind=Kind.WEB_DIST_MISSING, cause="core/web/dist/")
    down = Failure(phase=State.IMAGING, kind=Kind.ENGINE_DOWN, cause="no socket")
    of = Neighbours(fails={"survey": deque([missing]), "ping": deque([down])})

    async with deployer(tmp_path, of) as here:
        report = await here.preflight(request(tmp_path))

    failures = [check.failure for check in report.checks if check.failure]
    assert [failure.kind for failure in failures] == [missing.kind, down.kind]
    assert str(report.target).startswith(NAME)


async def test_a_warning_of_the_preflight_shows_no_secret(tmp_path: Path) -> None:
    password = LOGIN.password.reveal()
    echo = Failure(phase=State.PUSHING, kind=Kind.NOT_A_REGISTRY, cause=f"blocked: x:{password}")
    of = Neighbours(fails={"may_push": deque([echo] * 9)})
    told: list[Event] = []

    async with deployer(tmp_path, of) as here:
        looked = await here.preflight(request(tmp_path))
        examined = await here.doctor(request(tmp_path))
        await here.deploy(request(tmp_path), on_event=told.append)

    heard = [event.body.text for event in told if isinstance(event.body, Warned)]
    warning = "not known whether uploads are let in: blocked: x:***"
    assert [warning in each for each in (looked.warnings, examined.warnings, heard)] == [True] * 3
    assert password not in f"{looked} {examined} {told}"


async def test_an_interrupted_run_is_replaced_by_a_new_one_and_the_user_is_told(
    tmp_path: Path,
) -> None:
    of = Neighbours(hang_in="image")
    told: list[Event] = []
    async with deployer(tmp_path, of) as here:
        async with anyio.create_task_group() as group:
            group.start_soon(here.deploy, request(tmp_path))
            await of.hanging.wait()
            group.cancel_scope.cancel()
        of.hang_in = None
        result = await here.deploy(request(tmp_path), on_event=told.append)
        outcomes = [record.outcome for record in await here.history()]

    assert result.state is State.DONE
    assert outcomes == [Outcome.SUCCEEDED, Outcome.ABANDONED]
    warnings = [event.body.text for event in told if isinstance(event.body, Warned)]
    assert any("imaging" in text for text in warnings)


async def test_only_the_newest_run_can_be_resumed(tmp_path: Path) -> None:
    error = Failure(phase=State.BUILDING, kind=Kind.COMPILE_ERROR, cause="E0308")
    of = Neighbours(fails={"compile": deque([error])})

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
        await here.deploy(request(tmp_path, tag="v2"))
        older = await here.resume("ten_1", failed.run_id)
        done = await here.resume("ten_1")
        unknown = await here.resume("ten_1", "0000000000000000")

    assert [each.refused for each in (older, done, unknown)] == [True] * 3
    assert len(of.deployed) == 1


async def test_a_handle_has_the_events_and_the_result(tmp_path: Path) -> None:
    of = Neighbours()
    async with deployer(tmp_path, of) as here, here.start(request(tmp_path)) as handle:
        seen = [event.body async for event in handle.events]
        result = await handle.result()

    assert result is not None
    assert result.state is State.DONE
    assert isinstance(seen[0], RunOpened)
    assert isinstance(seen[-1], RunFinished)
    assert [body.state for body in seen if isinstance(body, StateEntered)] == list(WORKING)


async def test_a_reader_that_leaves_early_does_not_disturb_the_run(tmp_path: Path) -> None:
    of = Neighbours()
    async with deployer(tmp_path, of) as here, here.start(request(tmp_path)) as handle:
        async for _ in handle.events:
            break

    result = await handle.result()
    assert result is not None
    assert result.state is State.DONE


async def test_a_handle_cancels_its_own_run_and_no_other(tmp_path: Path) -> None:
    slow, quick = Neighbours(hang_in="push"), Neighbours()
    async with deployer(tmp_path, slow) as here, deployer(tmp_path, quick) as there:
        async with here.start(request(tmp_path)) as handle:
            await slow.hanging.wait()
            other = await there.deploy(replace(request(tmp_path), tenant="ten_2"))
            handle.cancel()
        stood = (await here.history("ten_1"))[0].run.state

    assert await handle.result() is None
    assert other.state is State.DONE
    assert stood is State.PUSHING


async def test_a_host_s_broken_callback_does_not_stop_a_deploy(tmp_path: Path) -> None:
    def broken(event: Event) -> None:
        raise ValueError("a bug of the host")

    async with deployer(tmp_path, Neighbours()) as here:
        result = await here.deploy(request(tmp_path), on_event=broken)

    assert result.state is State.DONE


async def test_a_failure_can_be_raised(tmp_path: Path) -> None:
    error = Failure(phase=State.BUILDING, kind=Kind.COMPILE_ERROR, cause="E0308")
    async with deployer(tmp_path, Neighbours(fails={"compile": deque([error])})) as here:
        result = await here.deploy(request(tmp_path))

    with pytest.raises(DeployError, match="B01 E0308: Fix code, re-run"):
        result.raise_for_failure()


async def test_of_a_finished_run_s_image_one_name_a_tenant_stays(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    async with deployer(tmp_path, of, clock) as here:
        await here.deploy(request(tmp_path))
        clock.now += 60
        await here.deploy(request(tmp_path))

    assert list(of.images) == ["deployer-last:ten_1"]
