"""What a server that tells little, or late, must not make of a run; and who else may be at work."""

import asyncio  # noqa: TID251  # its native cancel is what is tried
import sqlite3
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from deployer.adapters.journal.file import NAME as JOURNAL
from deployer.api import Deployer
from deployer.errors import SupersededError
from deployer.failures import Failure, Kind
from deployer.model import Deployment, TenantStatus
from deployer.names import Digest
from deployer.result import DeployResult
from deployer.run import OnLock, Outcome, Settlement
from deployer.states.flow import State
from tests.fakes.deployers import adapters, deployer, request
from tests.fakes.neighbours import LOGIN, Api, Clock, Neighbours, sha

pytestmark = pytest.mark.anyio
NAME = "registry.fly.io/sp-ten-1"
SERVER_TAG = replace(LOGIN, tag="tenant-ten_1")
MUTABLE = f"{NAME}:tenant-ten_1"


def lost() -> deque[Failure]:
    cause = "no answer"
    return deque([Failure(phase=State.DEPLOYING, kind=Kind.OUTCOME_UNKNOWN, cause=cause)])


def unavailable() -> deque[Failure]:
    return deque([Failure(phase=State.DEPLOYING, kind=Kind.API_UNAVAILABLE, cause="503")])


def with_api(folder: Path, api: Api, clock: Clock | None = None) -> Deployer:
    return Deployer(replace(adapters(folder, api.of, clock or Clock()), api=api))


@dataclass
class NoIds(Api):
    """Names images, and no deploys."""

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        found = await super().status(tenant)
        return replace(found, deploy_id=None) if isinstance(found, TenantStatus) else found

    async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
        answer = await super().deploy(tenant, image, key)
        return replace(answer, deploy_id=None) if isinstance(answer, Deployment) else answer


@dataclass
class Stale(Api):
    """The status still shows what ran before."""

    word: str = "running"
    deploy_id: str | None = "d-old"

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        return TenantStatus(
            deploy_status=self.word,
            image=f"{NAME}:old",
            deploy_id=self.deploy_id,
            names_images=True,
        )


@dataclass
class NoStatus(Api):
    """Neither a status route nor a URL."""

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        return None

    async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
        answer = await super().deploy(tenant, image, key)
        return replace(answer, url=None) if isinstance(answer, Deployment) else answer


@asynccontextmanager
async def deploying_until_it_hangs(here: Deployer, folder: Path) -> AsyncIterator[None]:
    """A deploy that stands in a call while the block runs, and is cancelled behind it."""

    async def deploy() -> None:
        with suppress(SupersededError):
            await here.deploy(request(folder))

    async with anyio.create_task_group() as group:
        group.start_soon(deploy)
        yield
        group.cancel_scope.cancel()


# -- A POST whose answer is lost


async def test_a_first_deploy_is_found_by_its_tag_though_no_deploy_has_an_id(
    tmp_path: Path,
) -> None:
    of = Neighbours(fails={"deploy": lost()}, loses_answers=1)

    async with with_api(tmp_path, NoIds(of)) as here:
        result = await here.deploy(request(tmp_path))

    assert result.state is State.DONE
    assert len(of.deployed) == 1


async def test_a_mutable_tag_without_ids_tells_nothing_and_nothing_is_sent_again(
    tmp_path: Path,
) -> None:
    of, clock = Neighbours(login=SERVER_TAG), Clock()

    async with with_api(tmp_path, NoIds(of), clock) as here:
        await here.deploy(request(tmp_path))
        clock.now += 60
        of.fails["deploy"], of.loses_answers = lost(), 1
        second = await here.deploy(request(tmp_path))

    assert second.exit_code == 20
    assert of.deployed == [MUTABLE, MUTABLE]


async def test_the_same_image_again_without_ids_is_not_sent_a_third_time(tmp_path: Path) -> None:
    of = Neighbours()

    async with with_api(tmp_path, NoIds(of)) as here:
        await here.deploy(request(tmp_path))
        of.fails["deploy"], of.loses_answers = lost(), 1
        again = await here.deploy(request(tmp_path, skip_push=True))

    assert again.exit_code == 20
    assert len(of.deployed) == 2


async def test_a_named_tag_is_not_sent_again_if_nobody_knows_what_ran_before(
    tmp_path: Path,
) -> None:
    of = Neighbours(fails={"deploy": lost(), "status": unavailable()}, loses_answers=1)

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path, tag="v1"))

    assert result.exit_code == 20
    assert of.deployed == [f"{NAME}:v1"]


# -- A status that tells of another deploy


@pytest.mark.parametrize("deploy_id", ["d-old", None])
async def test_the_word_for_the_deploy_before_is_no_proof(
    tmp_path: Path, deploy_id: str | None
) -> None:
    async with with_api(tmp_path, Stale(Neighbours(), deploy_id=deploy_id)) as here:
        result = await here.deploy(request(tmp_path))

    assert result.failure is not None
    assert result.failure.kind is Kind.UNHEALTHY
    assert f"of {NAME}:old" in result.failure.cause


async def test_the_deploy_before_may_have_failed_and_ours_is_not_sent_again(tmp_path: Path) -> None:
    of = Neighbours(honours_keys=True)

    async with with_api(tmp_path, Stale(of, word="stopped")) as here:
        await here.deploy(request(tmp_path))
    async with deployer(tmp_path, of) as here:
        result = await here.resume("ten_1")

    assert result.state is State.DONE
    assert len(of.deployed) == 1


async def test_a_person_s_word_is_proven_like_an_answer(tmp_path: Path) -> None:
    of = Neighbours(fails={"deploy": lost()}, names_images=False)

    async with deployer(tmp_path, of) as here:
        failed = await here.deploy(request(tmp_path))
        await here.settle("ten_1", str(failed.run_id), Settlement.DEPLOYED)
    async with with_api(tmp_path, Stale(of)) as here:
        result = await here.resume("ten_1")

    assert result.state is State.FAILED
    assert of.deployed == []


async def test_a_word_that_nobody_foresaw_is_no_proof_where_nothing_else_is_known(
    tmp_path: Path,
) -> None:
    async with with_api(tmp_path, NoStatus(Neighbours(deploy_status="exploding"))) as here:
        result = await here.deploy(request(tmp_path))

    assert result.exit_code == 15


async def test_a_foreign_deploy_of_the_one_mutable_tag_supersedes(tmp_path: Path) -> None:
    @dataclass
    class Overtaken(Api):
        async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
            answer = await super().deploy(tenant, image, key)
            self.of.deployed.append(image)
            return answer

    of = Neighbours(login=SERVER_TAG, deployed=[MUTABLE])

    async with with_api(tmp_path, Overtaken(of)) as here:
        result = await here.deploy(request(tmp_path))

    assert result.exit_code == 16


# -- A tag that was moved after the POST


async def test_a_resume_neither_overwrites_nor_believes_what_came_after_its_post(
    tmp_path: Path,
) -> None:
    of = Neighbours(login=SERVER_TAG, hang_in="deploy")
    async with deployer(tmp_path, of) as here, deploying_until_it_hangs(here, tmp_path):
        await of.hanging.wait()
    of.hang_in = None
    of.manifests[MUTABLE] = Digest(sha("theirs"))
    of.deployed.append(MUTABLE)

    async with deployer(tmp_path, of) as here:
        result = await here.resume("ten_1")

    assert result.exit_code == 20
    assert of.manifests[MUTABLE] == sha("theirs")
    assert of.deployed == [MUTABLE]


async def test_the_digest_that_was_sent_is_the_one_that_is_recorded(tmp_path: Path) -> None:
    of = Neighbours(manifests={f"{NAME}:v1": Digest(sha("sent"))}, hang_in="deploy")
    async with deployer(tmp_path, of) as here, anyio.create_task_group() as group:
        group.start_soon(here.deploy, request(tmp_path, skip_push=True, tag="v1"))
        await of.hanging.wait()
        group.cancel_scope.cancel()
    of.hang_in = None
    of.manifests[f"{NAME}:v1"] = Digest(sha("moved"))
    of.deployed.append(f"{NAME}:v1")

    async with deployer(tmp_path, of) as here:
        result = await here.resume("ten_1")

    assert result.exit_code == 20
    assert result.digest != sha("moved")


# -- Rolling back


@pytest.mark.parametrize("good", [1, 2])
async def test_a_rollback_leaves_the_deploy_that_is_not_healthy(tmp_path: Path, good: int) -> None:
    of = Neighbours()

    async with deployer(tmp_path, of) as here:
        last = await here.deploy(request(tmp_path))
        for _ in range(good - 1):
            last = await here.deploy(request(tmp_path, new=True))
        of.healthy = False
        assert (await here.deploy(request(tmp_path, new=True))).exit_code == 15
        of.healthy = True
        back = await here.rollback(request(tmp_path))

    assert (back.state, back.image) == (State.DONE, last.image)


async def test_a_rollback_that_waited_leaves_what_it_waited_for(tmp_path: Path) -> None:
    of, clock = Neighbours(), Clock()
    results: list[DeployResult] = []

    async with deployer(tmp_path, of, clock) as here:
        await here.deploy(request(tmp_path))
        clock.now += 60
        two = await here.deploy(request(tmp_path))
        clock.now += 60

        async def back() -> None:
            results.append(await here.rollback(request(tmp_path), on_lock=OnLock.WAIT))

        async with here.start(request(tmp_path)) as third, anyio.create_task_group() as group:
            async for _ in third.events:
                group.start_soon(back)
                break

    assert [result.image for result in results] == [two.image]


async def test_a_rollback_of_a_mutable_tag_that_nobody_may_read_is_put_back_unread(
    tmp_path: Path,
) -> None:
    of, clock = Neighbours(login=SERVER_TAG), Clock()
    denied = Failure(phase=State.PUSHING, kind=Kind.REPOSITORY_DENIED, cause="403")

    async with deployer(tmp_path, of, clock) as here:
        one = await here.deploy(request(tmp_path))
        clock.now += 60
        await here.deploy(request(tmp_path))
        of.fails["digest"] = deque([denied] * 9)
        back = await here.rollback(request(tmp_path))

    assert back.state is State.DONE
    assert of.manifests[MUTABLE] == one.digest == back.digest


@pytest.mark.parametrize("named", [True, False])
async def test_a_mutable_tag_whose_digest_was_never_read_is_no_way_back(
    tmp_path: Path, named: bool
) -> None:
    of, clock = Neighbours(login=SERVER_TAG), Clock()

    async with deployer(tmp_path, of, clock) as here:
        one = await here.deploy(request(tmp_path, skip_push=True, tag=SERVER_TAG.tag))
        of.manifests[MUTABLE] = Digest(sha("one"))
        denied = Failure(phase=State.PUSHING, kind=Kind.REPOSITORY_DENIED, cause="403")
        of.fails["digest"] = deque([denied] * 9)
        one = await here.resume("ten_1")
        of.fails["digest"].clear()
        clock.now += 60
        await here.deploy(request(tmp_path))
        back = await here.rollback(request(tmp_path), to=one.run_id if named else None)

    assert (one.state, one.digest) == (State.DONE, None)
    assert back.failure is not None
    assert back.failure.kind is Kind.NO_SUCH_RUN
    assert len(of.deployed) == 2


# -- Who may touch a run


async def test_a_run_is_resumed_and_settled_under_its_own_tenant_alone(tmp_path: Path) -> None:
    of = Neighbours(hang_in="deploy")
    async with (
        deployer(tmp_path, of) as here,
        deployer(tmp_path, of) as other,
        deploying_until_it_hangs(here, tmp_path),
    ):
        await of.hanging.wait()
        (record,) = await other.history("ten_1", 1)

        with anyio.fail_after(5):
            resumed = await other.resume("ten_2", record.run.id)
            settled = await other.settle("ten_2", record.run.id, Settlement.NOT_DEPLOYED)

        assert resumed.failure is not None
        assert resumed.failure.kind is Kind.NO_SUCH_RUN
        assert isinstance(settled, Failure)
        assert of.calls.count("deploy") == 1


async def test_a_native_cancel_in_a_write_does_not_free_the_tenant_before_it_ends(
    tmp_path: Path,
) -> None:
    of = Neighbours()
    async with deployer(tmp_path, of) as here, deployer(tmp_path, of) as other:
        await here.deploy(request(tmp_path))
        writer = sqlite3.connect(tmp_path / JOURNAL, isolation_level=None)
        writer.execute("begin immediate")
        first = asyncio.create_task(here.deploy(request(tmp_path, new=True)))
        await asyncio.sleep(0.5)

        first.cancel()
        ended, _ = await asyncio.wait({first}, timeout=0.1)
        writer.execute("commit")
        writer.close()
        await asyncio.wait({first})
        second = await other.deploy(request(tmp_path, new=True))

        assert not ended
        assert second.state is State.DONE
        outcomes = [record.outcome for record in await other.history("ten_1")]
        assert outcomes == [Outcome.SUCCEEDED, Outcome.ABANDONED, Outcome.SUCCEEDED]


# -- Resumed too often


async def test_what_a_person_settles_may_be_resumed_again(tmp_path: Path) -> None:
    of = Neighbours(fails={"deploy": lost()}, names_images=False)

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))
        for _ in range(11):
            result = await here.resume("ten_1")
        await here.settle("ten_1", str(result.run_id), Settlement.DEPLOYED)
        result = await here.resume("ten_1")

    assert result.state is State.DONE


async def test_a_run_that_gets_nowhere_names_no_resume(tmp_path: Path) -> None:
    wrong = Failure(phase=State.BUILDING, kind=Kind.COMPILE_ERROR, cause="E0308")
    of = Neighbours(fails={"compile": deque([wrong] * 11)})

    async with deployer(tmp_path, of) as here:
        result = await here.deploy(request(tmp_path))
        hints = [result.resume_command]
        for _ in range(11):
            result = await here.resume("ten_1")
            hints.append(result.resume_command)

    assert result.failure is not None
    assert result.failure.kind is Kind.LOOPING
    assert hints == [f"deployer resume {result.run_id}"] * 11 + [None]
