"""The doctor's checks among in-memory neighbours: what each finds, and what a deploy makes of it."""

import shutil
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from deployer.doctor import machine
from deployer.doctor.checks import CHECKS, of_deploy
from deployer.doctor.exam import PATIENCE_SECONDS
from deployer.doctor.finding import Advice, Finding, Level
from deployer.failures import Failure, Kind
from deployer.model import Crate
from deployer.ports import Surroundings
from deployer.run import BuilderWish, Outcome
from deployer.states.flow import State
from tests.fakes.deployers import deployer, request
from tests.fakes.neighbours import CRATES, LOGIN, REVISION, Clock, Neighbours

pytestmark = pytest.mark.anyio


def failure(kind: Kind, cause: str = "as told") -> Failure:
    return Failure(phase=State.PUSHING, kind=kind, cause=cause)


async def found(of: Neighbours, root: Path, clock: Clock | None = None) -> tuple[Finding, ...]:
    async with deployer(root / "state", of, clock) as here:
        return (await here.doctor(request(root))).checks


def named(findings: tuple[Finding, ...], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.name == name]


async def test_a_healthy_project_passes_every_check(tmp_path: Path) -> None:
    findings = await found(Neighbours(), tmp_path)

    assert {finding.level for finding in findings} == {Level.PASS}
    assert len(findings) >= 15


async def test_checks_look_at_the_same_time(tmp_path: Path) -> None:
    of = Neighbours(hang_in="ping")

    async with deployer(tmp_path, of) as here:
        with anyio.move_on_after(0.2):
            await here.doctor(request(tmp_path))

    assert {"ping", "check", "login", "account", "survey", "may_push", "status"} <= set(of.calls)


@pytest.mark.parametrize(
    ("call", "kind", "name"),
    [
        ("queries", Kind.DATABASE_URL_MISSING, "DATABASE_URL"),
        ("check", Kind.CARGO_MISSING, "cargo"),
        ("survey", Kind.WEB_DIST_MISSING, "context"),
        ("ping", Kind.ENGINE_FORBIDDEN, "engine"),
        ("account", Kind.API_LOGIN_REFUSED, "account"),
        ("login", Kind.TENANT_FORBIDDEN, "login"),
        ("probe", Kind.REGISTRY_AUTH, "registry"),
        ("may_push", Kind.REPOSITORY_DENIED, "push"),
    ],
)
async def test_each_check_fails_with_the_catalogue_s_row(
    tmp_path: Path, call: str, kind: Kind, name: str
) -> None:
    of = Neighbours(fails={call: deque([failure(kind)])})

    [finding] = named(await found(of, tmp_path), name)

    assert finding.level is Level.FAIL
    assert finding.failure is not None
    assert finding.failure.kind is kind
    assert finding.remedy == kind.resolution


async def test_all_flaws_of_manifests_and_context_are_found_at_once(tmp_path: Path) -> None:
    broken = (failure(Kind.NO_SUCH_PACKAGE, "a"), failure(Kind.MANIFEST_BROKEN, "b"))
    missing = (failure(Kind.WEB_DIST_MISSING), failure(Kind.SOURCE_IGNORED))
    of = Neighbours(
        fails={"survey": deque([missing[0]])}, flawed={"crates": broken, "context": missing}
    )

    findings = await found(of, tmp_path)

    assert [each.failure for each in named(findings, "crates")] == list(broken)
    assert [each.failure for each in named(findings, "context")] == list(missing)


async def test_a_refused_upload_stops_a_deploy_before_the_compile(tmp_path: Path) -> None:
    of = Neighbours(fails={"may_push": deque([failure(Kind.REGISTRY_AUTH)])})

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.exit_code == 3
    assert result.failure is not None
    assert result.failure.id == "P01"
    assert "compile" not in of.calls


async def test_a_registry_that_merely_dislikes_the_question_does_not_stop_a_deploy(
    tmp_path: Path,
) -> None:
    of = Neighbours(fails={"may_push": deque([failure(Kind.PUSH_FAILED, "UNSUPPORTED")])})

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE


async def test_an_image_that_is_there_needs_no_right_to_push(tmp_path: Path) -> None:
    assert not {"may_push", "ping"} & {check.look.__name__ for check in of_deploy(builds=False)}
    assert of_deploy(builds=True) != CHECKS


async def test_a_hiccup_of_the_api_does_not_refuse_a_deploy(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    busy = replace(failure(Kind.API_UNAVAILABLE), retry_after=2.0)
    of.fails = {"login": deque([busy, busy])}

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert clock.slept[:2] == [2.0, 2.0]


async def test_a_hiccup_of_the_registry_does_not_refuse_a_deploy(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    # Between two pushes the catalogue pauses for longer than a preflight may wait.
    of.fails = {"probe": deque([failure(Kind.REGISTRY_UNAVAILABLE)] * 2)}

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert sum(clock.slept[:2]) <= PATIENCE_SECONDS


async def test_a_hiccup_of_the_base_s_registry_does_not_refuse_a_deploy(tmp_path: Path) -> None:
    of = Neighbours(needs_engine=False)
    of.fails = {"foresee": deque([failure(Kind.BASE_UNREACHABLE)])}

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, builder=BuilderWish.DIRECT))

    assert result.state is State.DONE


async def test_a_long_wait_is_not_made_before_a_run(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    of.fails = {"login": deque([replace(failure(Kind.API_RATE_LIMIT), retry_after=60.0)])}

    async with deployer(tmp_path, of, clock) as here:
        result = await here.deploy(request(tmp_path))

    assert result.refused
    assert clock.slept == []


async def test_several_failures_are_told_together(tmp_path: Path) -> None:
    of = Neighbours(
        fails={
            "check": deque([failure(Kind.CARGO_MISSING)]),
            "ping": deque([failure(Kind.ENGINE_DOWN, "no socket")]),
        }
    )

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.id == "B05"
    assert result.failure.details == (f"also I01 no socket: {Kind.ENGINE_DOWN.resolution}",)


# -- Warnings


def dirty(of: Neighbours) -> None:
    of.revised = replace(REVISION, dirty=True)


def without_git(of: Neighbours) -> None:
    of.git = None


def unknown_commit(of: Neighbours) -> None:
    of.revised = replace(REVISION, short_sha="unknown")


def foreign_owner(of: Neighbours) -> None:
    why = "detected dubious ownership in repository at '/srv/app'"
    of.revised = replace(REVISION, short_sha="unknown", why_unknown=why)


def on_arm(of: Neighbours) -> None:
    of.engine_platform = "linux/arm64"


def without_database(of: Neighbours) -> None:
    of.database_trouble = "127.0.0.1:5432: Connection refused"


def wrapped(of: Neighbours) -> None:
    of.surroundings = Surroundings(environment={"RUSTC_WRAPPER": "sccache"})


def ending(of: Neighbours) -> None:
    of.surroundings = Surroundings(login_ends=Clock().wall() + 300)


def skewed(of: Neighbours) -> None:
    of.server_time = Clock().wall() - 3600


def uncopied(of: Neighbours) -> None:
    more = Crate(name="admin", package="admin", binaries=("systemprompt-admin",))
    of.crates_made = (*CRATES, more)


def stale(of: Neighbours) -> None:
    of.sources = (*of.sources, "target/release/old")


def broken(of: Neighbours) -> None:
    of.deploy_status = "failed"


def unsure_of_push(of: Neighbours) -> None:
    of.fails = {"may_push": deque([failure(Kind.PUSH_FAILED, "405")])}


@pytest.mark.parametrize(
    ("spoil", "name", "advice"),
    [
        (dirty, "commit", Advice.COMMIT),
        (without_git, "git", Advice.GIT),
        (unknown_commit, "commit", Advice.GIT),
        (foreign_owner, "commit", Advice.OWNER),
        (on_arm, "platform", Advice.EMULATION),
        (without_database, "database", Advice.DATABASE),
        (wrapped, "variables", Advice.WRAPPER),
        (ending, "login ends", Advice.LOGIN_ENDS),
        (skewed, "clock", Advice.CLOCK),
        (uncopied, "copies", Advice.COPY),
        (stale, "copies", Advice.STALE_BINARY),
        (broken, "status", Advice.UNHEALTHY),
        (unsure_of_push, "push", Advice.TRY_AGAIN),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
async def test_what_does_not_stop_a_deploy_is_a_warning_with_its_remedy(
    tmp_path: Path, spoil: Callable[[Neighbours], None], name: str, advice: Advice
) -> None:
    of = Neighbours()
    spoil(of)

    findings = await found(of, tmp_path)

    warned = [finding for finding in findings if finding.level is Level.WARN]
    assert [(finding.name, finding.advice) for finding in warned] == [(name, advice)]
    assert all(finding.ok for finding in findings)


@pytest.mark.parametrize(
    "source",
    [
        ".",
        "target/",
        "target/release",
        "./target/release/system*",
        "/target/release/./systemprompt",
    ],
)
async def test_a_binary_is_copied_by_its_directory_or_a_pattern_too(
    tmp_path: Path, source: str
) -> None:
    assert named(await found(Neighbours(sources=(source,)), tmp_path), "copies") == []


async def test_a_login_must_outlive_a_deploy_as_long_as_the_last(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    async with deployer(tmp_path / "state", of, clock) as here:
        of.fails = {"push": deque([failure(Kind.PUSH_CUT)] * 2)}
        await here.deploy(request(tmp_path))  # 40 s by the clock
        of.surroundings = Surroundings(login_ends=clock.wall() + 630)
    enough = await found(of, tmp_path, clock)
    clock.now += 31

    short = await found(of, tmp_path, clock)

    assert named(enough, "login ends")[0].level is Level.PASS
    assert named(short, "login ends")[0].advice is Advice.LOGIN_ENDS


async def test_an_interrupted_run_and_an_open_request_are_told(tmp_path: Path) -> None:
    of = Neighbours(hang_in="image")
    async with deployer(tmp_path / "state", of) as here, anyio.create_task_group() as group:
        group.start_soon(here.deploy, request(tmp_path))
        await of.hanging.wait()
        group.cancel_scope.cancel()
    of.hang_in = None
    [interrupted] = named(await found(of, tmp_path), "journal")
    of.names_images = False
    of.fails = {"deploy": deque([failure(Kind.OUTCOME_UNKNOWN)])}
    async with deployer(tmp_path / "state", of) as here:
        await here.deploy(request(tmp_path))
        (record, *_) = await here.history()
    [unsettled] = named(await found(of, tmp_path), "journal")

    assert interrupted.advice is Advice.OPEN_RUN
    assert record.outcome is Outcome.UNKNOWN
    assert unsettled.advice is Advice.SETTLE


async def test_a_broken_journal_is_a_failure_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/journal.sqlite").write_text("not a database, and longer than a header")

    [finding] = named(await found(Neighbours(), tmp_path), "journal")

    assert finding.failure is not None
    assert finding.failure.id == "T06"


async def test_without_the_management_api_the_rest_is_still_looked_at(tmp_path: Path) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        report = await here.doctor(request(tmp_path), api=False)

    assert not {"login", "account", "status", "probe", "may_push"} & set(of.calls)
    assert {"cargo", "engine", "context", "journal"} <= {each.name for each in report.checks}
    assert report.target is None


@pytest.mark.parametrize(
    ("space", "level"), [(0, Level.PASS), (1, Level.WARN), (2, Level.FAIL)], ids=str
)
async def test_space_is_judged_by_two_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: int, level: Level
) -> None:
    free = shutil.disk_usage(tmp_path).free
    bounds = [(0, 0), (0, free * 2), (free * 2, free * 4)][space]
    monkeypatch.setattr(machine, "TARGET_SPACE", bounds)

    [finding] = named(await found(Neighbours(), tmp_path), "target disk")

    assert finding.level is level
    assert finding.failure is None or finding.failure.kind is Kind.BUILD_DISK_FULL


async def test_the_server_s_own_tag_is_seen_beforehand(tmp_path: Path) -> None:
    of = Neighbours(login=replace(LOGIN, tag="tenant-ten_1"))

    async with deployer(tmp_path, of) as here:
        report = await here.doctor(request(tmp_path, tag="v1"))

    [finding] = named(report.checks, "image")
    assert finding.failure is not None
    assert finding.failure.kind is Kind.TAG_NOT_ACCEPTED
