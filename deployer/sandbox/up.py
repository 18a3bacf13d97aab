"""Puts a sandbox together and takes it apart again."""

import base64
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp
import anyio
from aiohttp import web
from anyio.abc import TaskGroup

from deployer.sandbox.base_image import (
    ensure_base_image,
    publish_base_image,
    write_base_image,
)
from deployer.sandbox.control import Control, stranger
from deployer.sandbox.deploys import Deploys
from deployer.sandbox.edge import Edge
from deployer.sandbox.engine import Engine, engine
from deployer.sandbox.faults import Faults
from deployer.sandbox.gate import Gate
from deployer.sandbox.ledger import Ledger
from deployer.sandbox.logins import Logins
from deployer.sandbox.loopback import HOST, Door, served
from deployer.sandbox.machine import Machine, remove_leftovers
from deployer.sandbox.management import Management
from deployer.sandbox.options import TENANTS, Options, Tenant
from deployer.sandbox.paper_machine import PaperMachine
from deployer.sandbox.places import owned
from deployer.sandbox.programs import Programs
from deployer.sandbox.refusal import Refused, Say
from deployer.sandbox.registry import registry
from deployer.sandbox.shelf import Shelf
from deployer.sandbox.traffic import Traffic

TOKEN_HOURS: Final = 24
_FOREVER: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)
_CLEAN_UP_SECONDS: Final = 2.5  # per step; with the engine's own end, below 5 s as a rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A running sandbox."""

    api_url: str
    api_token: str
    engine: str  # as in DOCKER_HOST; empty where there is none
    no_engine: bool  # as asked: a deploy is not to look for one either
    gate: str  # `host:port` of the registry, as images name it
    registry: str  # `host:port` of the registry without login, faults and counting
    urls: Mapping[str, str]  # tenant id -> public URL
    ledger: Path  # the executed deploys, JSON lines
    base_made_here: bool  # the base image is our own small one
    faults: Faults

    def environment(self) -> dict[str, str]:
        """What a deploy into this sandbox needs in its environment."""
        return {
            "SYSTEMPROMPT_API_URL": self.api_url,
            "SYSTEMPROMPT_API_TOKEN": self.api_token,
            "SYSTEMPROMPT_USER_EMAIL": "you@example.com",
            "SYSTEMPROMPT_PROFILE": "prod",
            **({"DOCKER_HOST": self.engine} if self.engine else {}),
            **({"DEPLOYER_BUILDER": "direct"} if self.no_engine else {}),
            "DEPLOYER_BASE_REGISTRY": self.registry,
        }

    def described(self) -> dict[str, object]:
        """All of it as plain values, for `--json`."""
        return {
            "environment": self.environment(),
            "gate": self.gate,
            "registry": self.registry,
            "urls": dict(self.urls),
            "ledger": str(self.ledger),
            "base_made_here": self.base_made_here,
        }


def api_token() -> str:
    """An unsigned JWT: clients read `exp` and nothing else of it."""
    expires = datetime.now(UTC) + timedelta(hours=TOKEN_HOURS)
    claims = {"sub": "user-1", "exp": int(expires.timestamp()), "jti": secrets.token_hex(16)}
    return (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "none", "typ": "JWT"}, claims)
        )
        + "."
    )


@asynccontextmanager
async def sandbox(options: Options, say: Say) -> AsyncIterator[Sandbox]:
    """Serve a sandbox until the block ends. Raises Refused if it cannot come up."""
    async with AsyncExitStack() as stack:
        stack.enter_context(owned(options.folder))
        programs = Programs(options, say)
        runs = await _engine(stack, options, programs, say)
        made_here = runs is None or await ensure_base_image(runs.api, options, say)
        address = await stack.enter_async_context(registry(options, programs, runs, say))
        shelf = Shelf(address, await _session(stack))
        if runs is None:
            await write_base_image(shelf, options)
        else:
            stack.push_async_callback(_leave_no_container, runs, options.folder)
            await publish_base_image(runs.api, shelf)
        faults = Faults(options.faults)
        site = _Site(
            stack=stack,
            options=options,
            engine=runs,
            shelf=shelf,
            faults=faults,
            logins=Logins(faults, options.login_seconds),
            traffic=Traffic(),
            tasks=await stack.enter_async_context(_background()),
        )
        yield await site.opened(base_made_here=made_here)


async def _engine(
    stack: AsyncExitStack, options: Options, programs: Programs, say: Say
) -> Engine | None:
    """An engine, if one can be had; without it images are checked instead of run."""
    if options.no_engine:
        say("Without an engine, as asked: images are checked instead of run")
        return None
    try:
        runs = await stack.enter_async_context(engine(options, programs, say))
    except Refused as refused:
        say(f"{refused}\nWithout an engine: images are checked instead of run")
        return None
    await remove_leftovers(runs, options.folder)
    return runs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """What the doors of one sandbox share, and the opening of each."""

    stack: AsyncExitStack
    options: Options
    engine: Engine | None
    shelf: Shelf
    faults: Faults
    logins: Logins
    traffic: Traffic
    tasks: TaskGroup

    async def opened(self, *, base_made_here: bool) -> Sandbox:
        machines = {tenant.id: self._machine(tenant) for tenant in TENANTS}
        urls = await self._public_urls(machines)
        gate = await self._gate()
        ledger = Ledger(self.options.folder / "deploys.jsonl")
        deploys = Deploys(
            options=self.options,
            registry=gate,
            shelf=self.shelf,
            machines=machines,
            ledger=ledger,
            faults=self.faults,
            tasks=self.tasks,
        )
        token = api_token()
        return Sandbox(
            api_url=await self._api(deploys, urls, token),
            api_token=token,
            engine=self.engine.endpoint if self.engine else "",
            no_engine=self.options.no_engine,
            gate=gate,
            registry=self.shelf.address,
            urls=urls,
            ledger=ledger.path,
            base_made_here=base_made_here,
            faults=self.faults,
        )

    def _machine(self, tenant: Tenant) -> Machine | PaperMachine:
        if self.engine is None:
            return PaperMachine(tenant, self.shelf)
        return Machine(tenant, self.engine, self.options.folder, self.logins.machine)

    async def _public_urls(self, machines: Mapping[str, Machine | PaperMachine]) -> dict[str, str]:
        urls = {}
        for offset, (tenant, machine) in enumerate(machines.items(), start=3):
            edge = Edge(machine, self.faults, self.shelf.session)
            urls[tenant] = _url(await self._open(edge.app(), offset))
        return urls

    async def _gate(self) -> str:
        realm = await self._open(stranger(self.traffic), 2)
        gate = Gate(
            upstream=self.shelf.address,
            session=self.shelf.session,
            logins=self.logins,
            faults=self.faults,
            traffic=self.traffic,
            foreign_realm=f"http://localhost:{realm.port}/token",
        )
        door = await self._open(gate.app(), 1)
        self.tasks.start_soon(gate.follow_faults, door)
        return f"{HOST}:{door.port}"

    async def _api(self, deploys: Deploys, urls: Mapping[str, str], token: str) -> str:
        management = Management(
            options=self.options,
            token=token,
            urls=urls,
            deploys=deploys,
            logins=self.logins,
            faults=self.faults,
            traffic=self.traffic,
        )
        control = Control(self.faults, deploys.ledger, self.traffic)
        app = web.Application(middlewares=[management.counted])
        app.add_routes([*management.routes(), *control.routes()])
        return _url(await self._open(app, 0))

    async def _open(self, app: web.Application, offset: int) -> Door:
        return await self.stack.enter_async_context(served(app, self.options.port(offset)))


def _url(door: Door) -> str:
    return f"http://{HOST}:{door.port}"


async def _session(stack: AsyncExitStack) -> aiohttp.ClientSession:
    # Bodies pass through as they are; a proxy that decompresses changes digests and lengths.
    session = aiohttp.ClientSession(timeout=_FOREVER, auto_decompress=False)
    return await stack.enter_async_context(session)


@asynccontextmanager
async def _background() -> AsyncIterator[TaskGroup]:
    """Tasks that end with the block."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
            tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        # The group is how we are built; who uses a sandbox gets their own exception back.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _leave_no_container(runs: Engine, folder: Path) -> None:
    with anyio.CancelScope(shield=True), anyio.move_on_after(_CLEAN_UP_SECONDS):
        await remove_leftovers(runs, folder)
