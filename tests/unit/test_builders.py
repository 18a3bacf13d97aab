"""Which builder makes the image, and that a run keeps to it."""

from collections import deque
from pathlib import Path

import anyio
import pytest

from deployer.builders import Choice, chosen
from deployer.events import BuilderChosen, Event
from deployer.failures import Failure, Kind
from deployer.ports import EngineInfo
from deployer.run import Builder, BuilderWish
from deployer.states.flow import State
from tests.fakes.deployers import deployer, request
from tests.fakes.neighbours import Neighbours

ENGINE = EngineInfo(endpoint="unix:///e", version="20.10", vendor="Docker Engine")
DOWN = Failure(phase=State.IMAGING, kind=Kind.ENGINE_DOWN, cause="connection refused")
RUN = Failure(phase=State.IMAGING, kind=Kind.NEEDS_ENGINE, cause="line 2: RUN")


@pytest.mark.parametrize(
    ("wish", "engine", "refusal", "builder"),
    [
        (BuilderWish.AUTO, ENGINE, None, Builder.ENGINE),
        (BuilderWish.AUTO, ENGINE, RUN, Builder.ENGINE),
        (BuilderWish.AUTO, DOWN, None, Builder.DIRECT),
        (BuilderWish.ENGINE, ENGINE, None, Builder.ENGINE),
        (BuilderWish.DIRECT, None, None, Builder.DIRECT),
    ],
)
def test_the_builder_follows_from_the_wish_and_from_what_there_is(
    wish: BuilderWish,
    engine: EngineInfo | Failure | None,
    refusal: Failure | None,
    builder: Builder,
) -> None:
    choice = chosen(wish, engine, refusal)

    assert isinstance(choice, Choice)
    assert choice.builder is builder


@pytest.mark.parametrize(
    ("wish", "engine", "refusal", "kind"),
    [
        (BuilderWish.AUTO, DOWN, RUN, Kind.ENGINE_DOWN),
        (BuilderWish.ENGINE, DOWN, None, Kind.ENGINE_DOWN),
        (BuilderWish.DIRECT, None, RUN, Kind.NEEDS_ENGINE),
    ],
)
def test_without_a_builder_that_can_nothing_is_chosen(
    wish: BuilderWish, engine: Failure | None, refusal: Failure | None, kind: Kind
) -> None:
    failure = chosen(wish, engine, refusal)

    assert isinstance(failure, Failure)
    assert failure.kind is kind


def test_a_missing_engine_is_reported_with_why_it_is_needed() -> None:
    failure = chosen(BuilderWish.AUTO, DOWN, RUN)

    assert isinstance(failure, Failure)
    assert failure.details == ("without an engine: line 2: RUN",)


def test_an_engine_that_is_not_needed_is_used_and_told_about() -> None:
    choice = chosen(BuilderWish.AUTO, ENGINE, None)

    assert isinstance(choice, Choice)
    assert "--builder direct" in choice.why


@pytest.mark.anyio
async def test_a_run_without_an_engine_is_carried_out_by_the_direct_builder(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False, fails={"ping": deque([DOWN])})
    told: list[Event] = []

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path), on_event=told.append)

    assert result.state is State.DONE
    assert "image directly" in of.calls
    bodies = [event.body for event in told if isinstance(event.body, BuilderChosen)]
    assert [body.builder for body in bodies] == [Builder.DIRECT]


@pytest.mark.anyio
async def test_a_resume_keeps_the_builder_of_its_run(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False)
    cut = Failure(phase=State.PUSHING, kind=Kind.REPOSITORY_DENIED, cause="denied")
    of.fails = {"ping": deque([DOWN]), "push": deque([cut])}
    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
    assert failed.state is State.FAILED
    of.images.clear()  # so that the image is made again, though an engine answers by now

    async with deployer(tmp_path, of) as here:
        result = await here.resume("ten_1")

    assert result.state is State.DONE
    assert of.calls.count("image directly") == 2


@pytest.mark.anyio
async def test_who_asks_for_the_direct_builder_asks_no_engine(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False)

    async with deployer(tmp_path, of) as here:
        await here.deploy(request(tmp_path, builder=BuilderWish.DIRECT))

    assert "ping" not in of.calls


# What is done while cargo runs


def ahead(of: Neighbours) -> list[str]:
    return [call for call in of.calls if call.startswith("ahead") or call in ("compile", "push")]


@pytest.mark.anyio
async def test_the_direct_builder_works_ahead_from_the_compile_to_the_push(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False)
    wanted = request(tmp_path, builder=BuilderWish.DIRECT)

    await deployer(tmp_path, of).deploy(wanted)

    beside = {"ahead", "ahead to sp-ten-1", "compile", "ahead built systemprompt"}
    assert set(ahead(of)[:4]) == beside
    assert ahead(of)[4:] == ["ahead finished", "push", "ahead stopped"]
    assert of.calls.count("login") == 2  # the preflight's serves it, too


@pytest.mark.anyio
async def test_when_cargo_fails_the_work_ahead_stops(tmp_path: Path) -> None:
    broken = Failure(phase=State.BUILDING, kind=Kind.BUILD_FAILED, cause="E0308")
    of = Neighbours(needs_engine=False, fails={"compile": deque([broken])})

    result = await deployer(tmp_path, of).deploy(request(tmp_path, builder=BuilderWish.DIRECT))

    assert result.failure is not None
    assert of.calls[-1] == "ahead stopped"
    assert "push" not in of.calls


@pytest.mark.anyio
async def test_a_cancelled_run_leaves_nobody_working_ahead(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False, hang_in="compile")
    async with anyio.create_task_group() as group:
        wanted = request(tmp_path, builder=BuilderWish.DIRECT)
        group.start_soon(deployer(tmp_path, of).deploy, wanted)
        await of.hanging.wait()
        group.cancel_scope.cancel()

    assert "push" not in of.calls


@pytest.mark.anyio
async def test_a_resume_in_building_fetches_the_login_for_it(tmp_path: Path) -> None:
    broken = Failure(phase=State.BUILDING, kind=Kind.BUILD_FAILED, cause="E0308")
    of = Neighbours(needs_engine=False, fails={"compile": deque([broken])})
    await deployer(tmp_path, of).deploy(request(tmp_path, builder=BuilderWish.DIRECT))
    of.calls.clear()

    await deployer(tmp_path, of).resume("ten_1")

    assert "ahead to sp-ten-1" in of.calls
    assert of.calls.count("login") == 2


@pytest.mark.anyio
async def test_nobody_works_ahead_behind_building(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False)
    of.hang_in = "image directly"
    with anyio.move_on_after(0.2):
        await deployer(tmp_path, of).deploy(request(tmp_path, builder=BuilderWish.DIRECT))
    of.hang_in = None
    of.calls.clear()
    await deployer(tmp_path, of).resume("ten_1")

    assert "push" in of.calls
    assert not [call for call in of.calls if call.startswith("ahead")]
