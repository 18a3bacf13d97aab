"""Two hundred lost answers at a server that works for 300 ms, unseen, and takes every POST."""

import json
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio
import pytest
from aiohttp import web
from anyio.abc import TaskGroup

from deployer.adapters.clock import SystemClock
from deployer.adapters.http.client import Http
from deployer.adapters.http.url import ApiUrl
from deployer.adapters.management.api import Management
from deployer.api import Deployer
from deployer.model import Secret
from deployer.result import DeployResult
from deployer.run import DeployRequest, WaitPolicy
from deployer.sandbox.loopback import HOST, hang_up, served
from deployer.states.flow import State
from tests.fakes.deployers import adapters
from tests.fakes.neighbours import Neighbours

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.long]
LOST: Final = 200
WORK: Final = 0.3  # seconds
AT_ONCE: Final = 25


@dataclass
class BluntServer:
    """Shows a deploy when it is done and not before, and has no lock of its own."""

    tasks: TaskGroup
    honours_keys: bool
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    executed: list[str] = field(default_factory=list)  # tenants
    latest: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, anyio.Event] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)  # tenants whose first answer is lost

    def app(self) -> web.Application:
        app = web.Application()
        base = "/api/v1/tenants/{tenant}"
        app.router.add_get(f"{base}/registry-token", self._login)
        app.router.add_get(f"{base}/status", self._status)
        app.router.add_post(f"{base}/deploy", self._deploy)
        return app

    def _answer(self, body: dict[str, object]) -> web.Response:
        known = {"capabilities": ["idempotency-key"]} if self.honours_keys else {}
        return web.json_response({**body, **known})

    async def _login(self, request: web.Request) -> web.Response:
        login = {"registry": f"{HOST}:1", "username": "x", "password": secrets.token_hex(8)}
        return self._answer({**login, "repository": request.match_info["tenant"]})

    async def _status(self, request: web.Request) -> web.Response:
        none = {"status": "awaiting_deploy", "image": None, "deploy_id": None}
        return self._answer({**self.latest.get(request.match_info["tenant"], none)})

    async def _deploy(self, request: web.Request) -> web.Response:
        tenant = request.match_info["tenant"]
        image, key = json.loads(await request.read())["image"], request.headers["Idempotency-Key"]
        if self.honours_keys and key in self.keys:
            return self._again(key)
        done = self.keys[key] = anyio.Event()
        self.tasks.start_soon(self._work, tenant, image, done)
        if tenant not in self.cut:
            self.cut.add(tenant)
            await anyio.sleep(self.chance.uniform(0, WORK * 1.1))
            return hang_up(request, reset=True)
        await done.wait()
        return self._answer({"status": "deployed", "url": "http://127.0.0.1:1"})

    def _again(self, key: str) -> web.Response:
        if self.keys[key].is_set():
            return self._answer({"status": "deployed", "url": "http://127.0.0.1:1"})
        error = {"code": "idempotency_in_progress", "message": "the key is being worked on"}
        return web.json_response({"error": error}, status=409, headers={"Retry-After": "1"})

    async def _work(self, tenant: str, image: str, done: anyio.Event) -> None:
        await anyio.sleep(WORK)
        self.executed.append(tenant)
        number = f"d{len(self.executed)}"
        self.latest[tenant] = {"status": "running", "image": image, "deploy_id": number}
        done.set()


@asynccontextmanager
async def blunt_server(*, honours_keys: bool) -> AsyncIterator[tuple[BluntServer, str]]:
    async with anyio.create_task_group() as tasks:
        server = BluntServer(tasks, honours_keys)
        async with served(server.app(), 0) as door:
            yield server, f"http://{HOST}:{door.port}"
        tasks.cancel_scope.cancel()


async def deploys(folder: Path, url: str, settle: float) -> list[DeployResult]:
    """So many tenants, each deployed once by the embedded interface."""
    results: list[DeployResult] = []
    limit = anyio.CapacityLimiter(AT_ONCE)
    async with Http() as http:

        async def deploy(tenant: str) -> None:
            known = adapters(folder, Neighbours(), SystemClock())
            api = Management(http, api_url=ApiUrl(url), token=Secret("token"))
            request = DeployRequest(
                tenant=tenant, project_root=folder, wait=WaitPolicy(settle=settle)
            )
            async with limit, Deployer(replace(known, api=api)) as here:
                results.append(await here.deploy(request))

        async with anyio.create_task_group() as tasks:
            for number in range(LOST):
                tasks.start_soon(deploy, f"ten-{number}")
    return results


def duplicates(server: BluntServer) -> int:
    return sum(count - 1 for count in Counter(server.executed).values())


async def test_with_keys_no_lost_answer_is_a_second_deploy(tmp_path: Path) -> None:
    async with blunt_server(honours_keys=True) as (server, url):
        results = await deploys(tmp_path, url, settle=60.0)

    assert [result.state for result in results] == [State.DONE] * LOST, results
    assert (len(server.cut), len(server.executed), duplicates(server)) == (LOST, LOST, 0)


async def test_without_keys_the_settle_window_prevents_it(tmp_path: Path) -> None:
    async with blunt_server(honours_keys=False) as (server, url):
        results = await deploys(tmp_path, url, settle=1.5)

    assert [result.state for result in results] == [State.DONE] * LOST, results
    assert (len(server.cut), len(server.executed), duplicates(server)) == (LOST, LOST, 0)


async def test_a_look_without_a_window_would_not(tmp_path: Path) -> None:
    """The judge can see duplicates: without the window they happen here."""
    async with blunt_server(honours_keys=False) as (server, url):
        await deploys(tmp_path, url, settle=0.0)

    assert duplicates(server) > LOST // 4
