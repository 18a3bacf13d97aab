"""The other side of a crash case: the sandbox's own API and registry gate before stand-ins."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from aiohttp import web

from deployer.sandbox.control import Control
from deployer.sandbox.deploys import Deploys
from deployer.sandbox.faults import Faults
from deployer.sandbox.gate import Gate
from deployer.sandbox.ledger import Ledger
from deployer.sandbox.logins import Logins
from deployer.sandbox.loopback import HOST, served
from deployer.sandbox.management import Management
from deployer.sandbox.options import TENANTS, Contract, Options
from deployer.sandbox.shelf import Shelf
from deployer.sandbox.traffic import Traffic
from deployer.sandbox.up import api_token
from tests.crash.engine import StandInEngine, Store, sha256
from tests.crash.parts import Part, Script, risen
from tests.fakes.direct import base_layer
from tests.servers.registry import base_image


@dataclass
class InstantMachine:
    """Runs any image at once."""

    image: str | None = None

    async def update(self, image: str) -> str | None:
        """Run it."""
        self.image = image
        return None

    async def alive(self) -> bool:
        """Whether anything was ever run."""
        return self.image is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where deploys go, and who judges them."""

    environment: Mapping[str, str]  # what a deploy to it needs
    api_url: str
    ledger: Path
    secrets: tuple[str, ...]  # that must not be found anywhere
    faults: Faults
    session: aiohttp.ClientSession
    script: Script = field(default_factory=Script)
    parts: Mapping[str, Part] = field(default_factory=dict)  # api, registry, engine: stand-ins only
    # What would be found by whoever can read the registry, each under a name of its own.
    shelved: Callable[[], Iterable[tuple[str, Callable[[], bytes]]]] = tuple
    # Those at the engine that no deployed image runs in; a stand-in has none.
    containers: Callable[[], Iterable[str]] = tuple

    @property
    def pauses(self) -> dict[str, float]:
        """Seconds that an answer is held back, by the end of its path: `build`, `deploy`, …"""
        return self.script.pauses

    async def uploaded(self) -> int:
        """Bytes that went to the registry so far."""
        return int((await self._log())["uploaded"])

    async def until_asked(self, name: str) -> None:
        """Wait until a path that ends so was asked for."""
        # The sandbox's log is asked over HTTP: there is no event to wait for.
        while not await self._asked(name):  # noqa: ASYNC110
            await anyio.sleep(0.02)

    async def _asked(self, name: str) -> bool:
        requests = (await self._log())["requests"]
        return any(each["path"].endswith(f"/{name}") for each in requests)

    async def _log(self) -> dict[str, Any]:
        async with self.session.get(f"{self.api_url}/__sandbox/log") as answer:
            return dict(await answer.json())

    async def forget(self) -> None:
        """Count anew; the ledger stays."""
        async with self.session.delete(f"{self.api_url}/__sandbox/log"):
            return


async def _as_it_is(_name: str, port: int) -> int:
    return port


@asynccontextmanager
async def stand_in_site(
    folder: Path,
    *,
    work_seconds: float = 0.0,
    contract: Contract = Contract.OWN_TAG,
    login_seconds: float = 300.0,
    front: Callable[[str, int], Awaitable[int]] = _as_it_is,
) -> AsyncIterator[Site]:
    """Serve a site until the block ends; `folder` keeps its ledger and its engine's socket.

    `front` puts something before a server's port and returns the port of that; it is asked for
    `registry`, `url` and `api`.
    """
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    options = Options(
        cache=folder,
        folder=folder,
        environ={},
        contract=contract,
        faults={},
        base_port=0,
        work_seconds=work_seconds,
        login_seconds=login_seconds,
    )
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        faults, traffic, store, script = Faults({}), Traffic(), Store(), Script()
        logins = Logins(faults, options.login_seconds)
        _put_base(store)
        registry = await stack.enter_async_context(served(store.app(), 0))
        gate = Gate(
            upstream=f"{HOST}:{registry.port}",
            session=session,
            logins=logins,
            faults=faults,
            traffic=traffic,
            foreign_realm="",
        )
        door = await stack.enter_async_context(risen(Part(scripted(gate.app(), script))))
        edge = await stack.enter_async_context(served(_healthy(), 0))
        public = {
            name: f"{HOST}:{await front(name, port)}"
            for name, port in (("registry", door.port), ("url", edge.port))
        }
        ledger, token = Ledger(folder / "deploys.jsonl"), api_token()
        deploys = Deploys(
            options=options,
            registry=public["registry"],
            shelf=Shelf(f"{HOST}:{registry.port}", session),
            machines={tenant.id: InstantMachine() for tenant in TENANTS},
            ledger=ledger,
            faults=faults,
            tasks=tasks,
        )
        management = Management(
            options=options,
            token=token,
            urls={tenant.id: f"http://{public['url']}" for tenant in TENANTS},
            deploys=deploys,
            logins=logins,
            faults=faults,
            traffic=traffic,
        )
        app = web.Application(middlewares=[management.counted])
        app.add_routes([*management.routes(), *Control(faults, ledger, traffic).routes()])
        api = await stack.enter_async_context(risen(Part(scripted(app, script))))
        api_url = f"http://{HOST}:{await front('api', api.port)}"
        socket = folder / "engine.sock"
        engine = Part(StandInEngine(session, script).app(), socket, gives_up=True)
        await stack.enter_async_context(risen(engine))
        yield Site(
            environment={
                **_environment(api_url, token, f"unix://{socket}"),
                "DEPLOYER_BASE_REGISTRY": f"{HOST}:{registry.port}",
            },
            api_url=api_url,
            ledger=ledger.path,
            # The last one is how a login begins in a header.
            secrets=(token.split(".")[1], "FlyV1-", "eDpGbHlWMS"),
            faults=faults,
            session=session,
            script=script,
            parts={"api": api, "registry": door, "engine": engine},
            shelved=store.shelved,
        )


def scripted(app: web.Application, script: Script) -> web.Application:
    """The same, with the script around each answer."""
    app.middlewares.insert(0, script.middleware())
    return app


def _put_base(store: Store) -> None:
    """The base image of the benches' Dockerfile."""
    layer, configuration, manifest = base_image(base_layer())
    store.blobs |= {sha256(each): each for each in (layer, configuration)}
    for reference in ("bookworm-slim", sha256(manifest)):
        store.manifests["library/debian", reference] = manifest


def _environment(api_url: str, token: str, engine: str) -> dict[str, str]:
    return {
        "SYSTEMPROMPT_API_URL": api_url,
        "SYSTEMPROMPT_API_TOKEN": token,
        "SYSTEMPROMPT_USER_EMAIL": "you@example.com",
        "DOCKER_HOST": engine,
    }


def _healthy() -> web.Application:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app
