"""The Management API over HTTP, with an engine on loopback that runs small servers."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from deployer.sandbox.control import Control
from deployer.sandbox.deploys import Deploys
from deployer.sandbox.edge import Edge
from deployer.sandbox.engine import Engine
from deployer.sandbox.engine_api import connected
from deployer.sandbox.faults import Faults
from deployer.sandbox.ledger import Ledger
from deployer.sandbox.logins import Logins
from deployer.sandbox.loopback import Door, served
from deployer.sandbox.machine import Machine
from deployer.sandbox.management import Management
from deployer.sandbox.options import TENANTS, Contract, Options
from deployer.sandbox.shelf import Shelf
from deployer.sandbox.traffic import Traffic

pytestmark = pytest.mark.anyio

TENANT = TENANTS[0]
REGISTRY = "127.0.0.1:5000"
IMAGE = f"{REGISTRY}/{TENANT.app}:deploy-1"
SERVER_IMAGE = f"{REGISTRY}/systemprompt-images:tenant-{TENANT.id}"
DIGEST = "sha256:" + "d" * 64
TOKEN = "the-api-token"


@dataclass
class LoopbackEngine:
    """Pulls anything, and runs each container as a server that answers with its image's name."""

    stack: AsyncExitStack
    log: list[str] = field(default_factory=list)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    running: dict[str, Door] = field(default_factory=dict)
    dies: bool = False  # containers end at once
    refuses: bool = False  # cannot pull

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/images/create", self.pull),
                web.post("/containers/create", self.create),
                web.post("/containers/{id}/start", self.start),
                web.post("/containers/{id}/stop", self.stop),
                web.get("/containers/{id}/json", self.inspect),
                web.get("/containers/{id}/logs", self.logs),
                web.delete("/containers/{id}", self.remove),
            ]
        )
        return app

    async def pull(self, request: web.Request) -> web.Response:
        auth = json.loads(base64.urlsafe_b64decode(request.headers["X-Registry-Auth"]))
        self.log.append(f"pull {request.query['fromImage']} as {auth['username']}")
        last = '{"error":"unauthorized"}' if self.refuses else '{"status":"Done"}'
        return web.Response(text='{"status":"Pulling"}\r\n' + last + "\r\n")

    async def create(self, request: web.Request) -> web.Response:
        container = f"c{len(self.specs)}"
        self.specs[container] = await request.json()
        return web.json_response({"Id": container}, status=201)

    async def start(self, request: web.Request) -> web.Response:
        container = request.match_info["id"]
        self.log.append(f"start {container}")
        if not self.dies:
            spec = self.specs[container]
            port = next(int(e[5:]) for e in spec["Env"] if e.startswith("PORT="))
            door = served(an_application(spec["Image"]), port)
            self.running[container] = await self.stack.enter_async_context(door)
        return web.Response(status=204)

    async def stop(self, request: web.Request) -> web.Response:
        container = request.match_info["id"]
        self.log.append(f"stop {container}")
        if door := self.running.pop(container, None):
            await door.stop()
        return web.Response(status=204)

    async def inspect(self, request: web.Request) -> web.Response:
        running = request.match_info["id"] in self.running
        return web.json_response({"State": {"Running": running}})

    async def logs(self, _request: web.Request) -> web.Response:
        return web.Response(body=b"\x01\x00\x00\x00\x00\x00\x00\x0cport in use\n")

    async def remove(self, _request: web.Request) -> web.Response:
        return web.Response(status=204)


def an_application(name: str) -> web.Application:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "image": name})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def a_registry() -> web.Application:
    async def manifest(request: web.Request) -> web.Response:
        missing = request.match_info["reference"].startswith("missing")
        headers = {} if missing else {"Docker-Content-Digest": DIGEST}
        return web.Response(status=404 if missing else 200, headers=headers)

    app = web.Application()
    app.router.add_head("/v2/{name}/manifests/{reference}", manifest)
    return app


@dataclass
class Case:
    url: str
    public: str
    client: aiohttp.ClientSession
    engine: LoopbackEngine
    deploys: Deploys
    faults: Faults

    async def call(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, Any, Any]:
        sent = {"Authorization": f"Bearer {TOKEN}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        async with self.client.request(method, self.url + path, json=body, headers=sent) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def deploy(self, image: str = IMAGE, **headers: str) -> tuple[int, Any, Any]:
        path = f"/api/v1/tenants/{TENANT.id}/deploy"
        return await self.call("POST", path, {"image": image}, **headers)

    async def get(self, what: str) -> tuple[int, Any]:
        code, answer, _ = await self.call("GET", f"/api/v1/tenants/{TENANT.id}/{what}")
        return code, answer

    @property
    def executed(self) -> list[str]:
        return [row["image"] for row in self.deploys.ledger.rows]


@asynccontextmanager
async def an_api(folder: Path, *on: str, **options: Any) -> AsyncIterator[Case]:
    chosen = Options(cache=folder, folder=folder, environ={}, faults={})
    chosen = replace(chosen, **options)
    faults, traffic = Faults(dict.fromkeys(on)), Traffic()
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        engine = LoopbackEngine(await stack.enter_async_context(AsyncExitStack()))
        engine_door = await stack.enter_async_context(served(engine.app(), 0))
        shelf_door = await stack.enter_async_context(served(a_registry(), 0))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        endpoint = f"tcp://127.0.0.1:{engine_door.port}"
        api = await stack.enter_async_context(connected(endpoint))
        logins = Logins(faults, 60)
        machine = Machine(TENANT, Engine(endpoint, api, bridged=False), folder, logins.machine)
        edge = Edge(machine, faults, session)
        public = await stack.enter_async_context(served(edge.app(), 0))
        shelf = Shelf(f"127.0.0.1:{shelf_door.port}", session)
        ledger = Ledger(folder / "deploys.jsonl")
        machines = {TENANT.id: machine}
        deploys = Deploys(chosen, REGISTRY, shelf, machines, ledger, faults, tasks)
        url = f"http://127.0.0.1:{public.port}"
        management = Management(
            options=chosen,
            token=TOKEN,
            urls={tenant.id: url for tenant in TENANTS},
            deploys=deploys,
            logins=logins,
            faults=faults,
            traffic=traffic,
        )
        app = web.Application(middlewares=[management.counted])
        app.add_routes([*management.routes(), *Control(faults, ledger, traffic).routes()])
        door = await stack.enter_async_context(served(app, 0))
        yield Case(f"http://127.0.0.1:{door.port}", url, session, engine, deploys, faults)
        tasks.cancel_scope.cancel()


async def test_a_deploy_runs_the_image_by_its_digest_and_serves_it(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        code, answer, _ = await case.deploy()

        pinned = f"{REGISTRY}/{TENANT.app}@{DIGEST}"
        async with case.client.get(case.public) as page:
            assert (await page.json())["image"] == pinned
        assert (code, answer) == (200, {"status": "deployed", "url": case.public})
        assert case.engine.log == [f"pull {pinned} as x", "start c0"]
        assert case.executed == [IMAGE]


async def test_the_next_deploy_replaces_the_container(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        await case.deploy()
        await case.deploy(IMAGE.replace("deploy-1", "deploy-2"))

        assert case.engine.log[-3:] == [case.engine.log[0], "stop c0", "start c1"]
        assert list(case.engine.running) == ["c1"]


async def test_status_tells_what_runs(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        before = await case.get("status")
        await case.deploy()
        after = await case.get("status")

    assert before[1]["status"] == "awaiting_deploy"
    assert after[1] == {
        "status": "running",
        "app_url": case.public,
        "capabilities": ["idempotency-key"],
        "image": IMAGE,
        "deploy_id": "dep-0001",
    }


async def test_a_container_that_ended_later_is_a_failed_status(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        await case.deploy()
        await case.engine.running.pop("c0").stop()

        _, answer = await case.get("status")

    assert (answer["status"], answer["message"]) == ("failed", "the machine runs no container")


async def test_a_container_that_ends_at_once_is_a_failed_update_with_its_words(
    tmp_path: Path,
) -> None:
    async with an_api(tmp_path) as case:
        case.engine.dies = True

        code, answer, _ = await case.deploy()

    assert (code, answer["error"]["code"]) == (500, "machine_update_failed")
    assert "port in use" in answer["error"]["message"]


async def test_an_engine_that_cannot_pull_is_a_failed_update(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        case.engine.refuses = True

        code, answer, _ = await case.deploy()

    assert (code, answer["error"]["code"]) == (500, "machine_update_failed")
    assert "unauthorized" in answer["error"]["message"]


async def test_own_tag_hands_out_a_password_and_no_tag(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        _, answer = await case.get("registry-token")

    assert answer.pop("password").startswith("FlyV1-")
    assert answer == {
        "registry": REGISTRY,
        "username": "x",
        "repository": TENANT.app,
        "capabilities": ["idempotency-key"],
    }


async def test_server_tag_hands_out_a_token_and_the_tag_in_an_envelope(tmp_path: Path) -> None:
    async with an_api(tmp_path, contract=Contract.SERVER_TAG) as case:
        _, answer = await case.get("registry-token")

    assert answer["data"].pop("token").startswith("FlyV1-")
    assert answer["data"] == {
        "registry": REGISTRY,
        "username": "x",
        "repository": "systemprompt-images",
        "tag": f"tenant-{TENANT.id}",
        "capabilities": ["idempotency-key"],
    }
    assert answer["meta"]["request_id"]


async def test_server_tag_takes_its_own_image_only_and_names_it(tmp_path: Path) -> None:
    async with an_api(tmp_path, contract=Contract.SERVER_TAG) as case:
        code, answer, _ = await case.deploy(SERVER_IMAGE.replace(TENANT.id, "other"))
        good, deployed, _ = await case.deploy(SERVER_IMAGE)

    assert (code, answer["error"]["code"]) == (400, "image_not_accepted")
    assert SERVER_IMAGE in answer["error"]["message"]
    assert (good, deployed["data"]["app_url"]) == (200, case.public)


@pytest.mark.parametrize(
    "image",
    [
        "",
        "a:b",
        f"evil.example/{TENANT.app}:t",
        f"{REGISTRY}/other:t",
        IMAGE + "/../x",
        IMAGE + "\n",
    ],
)
async def test_an_image_elsewhere_is_not_accepted(image: str, tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        code, answer, _ = await case.deploy(image)

        assert (code, answer["error"]["code"]) == (400, "image_not_accepted")
        assert case.executed == []


async def test_an_image_that_the_registry_lacks_is_not_found(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        code, answer, _ = await case.deploy(IMAGE.replace("deploy-1", "missing-1"))

        assert (code, answer["error"]["code"]) == (404, "image_not_found")
        assert case.executed == []
        assert (await case.deploy())[0] == 200


@pytest.mark.parametrize("body", [[], {}, {"image": 3}, "x", None])
async def test_a_body_without_an_image_is_an_invalid_request(body: object, tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        path = f"/api/v1/tenants/{TENANT.id}/deploy"
        code, answer, _ = await case.call("POST", path, body)

    assert (code, answer["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "Bearer \xff"])
async def test_another_token_is_refused(header: str, tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        path = f"/api/v1/tenants/{TENANT.id}/status"
        code, answer, _ = await case.call("GET", path, Authorization=header)

    assert (code, answer["error"]["code"]) == (401, "unauthorized")


async def test_an_unknown_tenant_and_an_unknown_route_are_told_apart(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        tenant = await case.call("GET", "/api/v1/tenants/nobody/status")
        route = await case.call("GET", "/api/v2")

    assert (tenant[0], tenant[1]["error"]["code"]) == (404, "tenant_not_found")
    assert (route[0], route[1]["error"]["code"]) == (404, "not_found")


async def test_auth_me_lists_the_tenants_without_an_envelope(tmp_path: Path) -> None:
    async with an_api(tmp_path, contract=Contract.SERVER_TAG) as case:
        _, answer, _ = await case.call("GET", "/api/v1/auth/me")

    assert [tenant["id"] for tenant in answer["tenants"]] == [tenant.id for tenant in TENANTS]


async def test_the_same_key_again_replays_the_answer_and_executes_nothing(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        _, first, _ = await case.deploy(Idempotency_Key="k")
        code, second, headers = await case.deploy(Idempotency_Key="k")

        assert (code, second) == (200, first)
        assert headers["Idempotent-Replayed"] == "true"
        assert len(case.executed) == 1


async def test_the_same_key_with_another_image_is_refused(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        await case.deploy(Idempotency_Key="k")
        code, answer, _ = await case.deploy(IMAGE + "x", Idempotency_Key="k")

        assert (code, answer["error"]["code"]) == (422, "idempotency_mismatch")


async def test_two_racing_requests_with_one_key_execute_once(tmp_path: Path) -> None:
    codes = []
    async with an_api(tmp_path, work_seconds=0.1) as case:

        async def post() -> None:
            code, answer, _ = await case.deploy(Idempotency_Key="k")
            codes.append((code, answer.get("error", {}).get("code")))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(post)

        assert sorted(codes) == [(200, None), *[(409, "idempotency_in_progress")] * 4]
        assert len(case.executed) == 1


async def test_a_deploy_that_failed_for_certain_frees_its_key(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        case.faults.switch_on("deploy-update-failed", 1)
        first, _, _ = await case.deploy(Idempotency_Key="k")
        second, _, _ = await case.deploy(Idempotency_Key="k")

        assert (first, second, len(case.executed)) == (500, 200, 1)


async def test_a_tenant_has_one_deploy_at_a_time(tmp_path: Path) -> None:
    async with an_api(tmp_path, work_seconds=0.1, answer_at_once=True) as case:
        first = await case.deploy(Idempotency_Key="a")
        second = await case.deploy(Idempotency_Key="b")
        _, status = await case.get("status")

        assert first[1]["status"] == status["status"] == "deploying"
        assert (second[0], second[1]["error"]["code"]) == (409, "deploy_in_progress")


async def test_without_honoured_keys_each_post_executes(tmp_path: Path) -> None:
    async with an_api(tmp_path, "ignore-keys") as case:
        for _ in range(2):
            await case.deploy(Idempotency_Key="k")
        _, status = await case.get("status")

        assert len(case.executed) == 2
        assert "capabilities" not in status


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        ("token-401", 401, "unauthorized"),
        ("token-403", 403, "forbidden"),
        ("token-404", 404, "tenant_not_found"),
        ("token-503", 503, "service_unavailable"),
    ],
)
async def test_a_token_fault_is_the_servers_refusal(
    fault: str, code: int, error: str, tmp_path: Path
) -> None:
    async with an_api(tmp_path, fault) as case:
        answered, answer = await case.get("registry-token")

    assert (answered, answer["error"]["code"]) == (code, error)


@pytest.mark.parametrize(
    ("fault", "code", "error"),
    [
        ("deploy-image-not-found", 404, "image_not_found"),
        ("deploy-update-failed", 500, "machine_update_failed"),
        ("deploy-500", 500, "internal"),
    ],
)
async def test_a_fault_before_the_work_executes_nothing(
    fault: str, code: int, error: str, tmp_path: Path
) -> None:
    async with an_api(tmp_path, fault) as case:
        answered, answer, _ = await case.deploy()

        assert (answered, answer["error"]["code"]) == (code, error)
        assert case.executed == []


async def test_a_status_of_failed_comes_with_200(tmp_path: Path) -> None:
    async with an_api(tmp_path, "deploy-status-failed") as case:
        code, answer, _ = await case.deploy()

        assert (code, answer["status"], case.executed) == (200, "failed", [])


@pytest.mark.parametrize(
    ("fault", "executed"), [("deploy-refused-before", 0), ("deploy-lost-answer", 1)]
)
async def test_a_lost_connection_looks_alike_before_and_after_the_work(
    fault: str, executed: int, tmp_path: Path
) -> None:
    async with an_api(tmp_path, fault) as case:
        with pytest.raises((aiohttp.ClientConnectionError, ConnectionResetError)):
            await case.deploy()

        assert len(case.executed) == executed


async def test_half_an_answer_comes_after_the_work(tmp_path: Path) -> None:
    async with an_api(tmp_path, "deploy-truncated") as case:
        with pytest.raises(json.JSONDecodeError):
            await case.deploy()

        assert len(case.executed) == 1


async def test_someone_elses_deploy_takes_over_in_the_status(tmp_path: Path) -> None:
    async with an_api(tmp_path, "deploy-superseded") as case:
        await case.deploy()
        _, status = await case.get("status")

    assert (status["image"], status["deploy_id"]) == (
        f"{REGISTRY}/{TENANT.app}:by-someone-else",
        "dep-0002",
    )


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("status-pending-forever", {"status": "deploying"}),
        ("bare-status", {"status": "running", "image": None, "deploy_id": None}),
    ],
)
async def test_a_status_fault_changes_the_status(
    fault: str, expected: dict[str, object], tmp_path: Path
) -> None:
    async with an_api(tmp_path, fault) as case:
        await case.deploy()
        _, status = await case.get("status")

    assert {name: status.get(name) for name in expected} == expected


async def test_a_server_without_a_status_route_says_404(tmp_path: Path) -> None:
    async with an_api(tmp_path, "status-404") as case:
        assert (await case.get("status"))[0] == 404


async def test_health_is_503_while_the_rest_answers(tmp_path: Path) -> None:
    async with an_api(tmp_path, "health-503") as case:
        await case.deploy()
        codes = []
        for path in ("/health", "/api/v1/health", "/"):
            async with case.client.get(case.public + path) as answer:
                codes.append(answer.status)

    assert codes == [503, 503, 200]


async def test_a_public_url_without_a_machine_is_a_502(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case, case.client.get(case.public) as answer:
        assert answer.status == 502


async def test_faults_are_switched_and_listed_at_run_time(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        order = {"name": "token-401", "count": 2}
        assert (await case.call("POST", "/__sandbox/faults", order))[1]["on"] == {"token-401": 2}
        await case.get("registry-token")
        assert (await case.call("GET", "/__sandbox/faults"))[1]["on"] == {"token-401": 1}
        assert (await case.call("DELETE", "/__sandbox/faults?name=token-401"))[1]["on"] == {}


@pytest.mark.parametrize(
    "order", [None, [], {}, {"name": "nope"}, {"name": "token-401", "count": True}]
)
async def test_a_fault_order_that_makes_no_sense_is_refused(order: object, tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        assert (await case.call("POST", "/__sandbox/faults", order))[0] == 400
        assert case.faults.on() == {}


async def test_the_log_tells_requests_and_executed_deploys_and_no_secret(tmp_path: Path) -> None:
    async with an_api(tmp_path) as case:
        _, login = await case.get("registry-token")
        await case.deploy(Idempotency_Key="k")
        _, log, _ = await case.call("GET", "/__sandbox/log")

    assert [(each["method"], each["status"], each["key"]) for each in log["requests"]] == [
        ("GET", 200, None),
        ("POST", 200, "k"),
    ]
    assert [row["key"] for row in log["deploys"]] == ["k"]
    assert login["password"] not in json.dumps(log)
    assert TOKEN not in json.dumps(log)
