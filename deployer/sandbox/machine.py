"""A stand-in for a tenant's Fly machine: pulls the deployed image, replaces the container."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import anyio

from deployer.sandbox.engine import Engine
from deployer.sandbox.engine_api import EngineError
from deployer.sandbox.loopback import HOST, free_port
from deployer.sandbox.options import Tenant

LABEL: Final = "deployer.sandbox"
INNER_PORT: Final = 8080  # what the application listens on where it has a network of its own
PULL_SECONDS: Final = 120.0
ANSWER_SECONDS: Final = 20.0


@dataclass(slots=True)
class Machine:
    """Runs at most one container."""

    tenant: Tenant
    engine: Engine
    folder: Path  # of the sandbox; labels its containers
    password: str  # for pulls
    port: int | None = None  # on loopback, while something runs
    _container: str | None = field(default=None)

    async def update(self, image: str) -> str | None:
        """Run `name@digest` in place of what runs; None if it answers, else why it does not."""
        try:
            with anyio.fail_after(PULL_SECONDS):
                await self.engine.api.pull(image, self.password)
            await self.stop()
            return await self._run(image)
        except EngineError as error:
            return f"the machine cannot run the image: {error}"
        except TimeoutError:
            return f"the machine could not pull the image within {PULL_SECONDS:.0f} s"

    async def _run(self, image: str) -> str | None:
        if self.engine.bridged:
            try:
                return await self._run_in(image, bridged=True)
            except EngineError:
                # An engine may lack what a bridge needs, as podman does without iptables.
                await self.stop()
        return await self._run_in(image, bridged=False)

    async def _run_in(self, image: str, *, bridged: bool) -> str | None:
        port = free_port()
        name = f"{self.tenant.app}-{port}"
        spec = self._spec(image, port, bridged=bridged)
        self._container = await self.engine.api.create(name, spec)
        await self.engine.api.start(self._container)
        with anyio.move_on_after(ANSWER_SECONDS):
            while not await _answers(port):
                if not await self.engine.api.running(self._container):
                    words = await self.engine.api.last_words(self._container)
                    return f"the application ended at once: {words or 'it said nothing'}"
                await anyio.sleep(0.05)
            self.port = port
            return None
        return f"the application does not answer on PORT within {ANSWER_SECONDS:.0f} s"

    def _spec(self, image: str, port: int, *, bridged: bool) -> dict[str, Any]:
        labels = {LABEL: str(self.folder)}
        if bridged:
            inner = f"{INNER_PORT}/tcp"
            published = {inner: [{"HostIp": HOST, "HostPort": str(port)}]}
            where = {"ExposedPorts": {inner: {}}, "HostConfig": {"PortBindings": published}}
            env = _env("0.0.0.0", INNER_PORT)  # noqa: S104  # inside the container
        else:
            # The host's network is shared: the application is told to stay on loopback.
            where, env = {"HostConfig": {"NetworkMode": "host"}}, _env(HOST, port)
        return {"Image": image, "Labels": labels, "Env": env, "StopTimeout": 1, **where}

    async def alive(self) -> bool:
        """Whether the container still runs, as far as the engine says."""
        try:
            return self._container is not None and await self.engine.api.running(self._container)
        except EngineError:
            return False

    async def stop(self) -> None:
        """Stop and remove the container, if there is one. Raises EngineError."""
        container, self._container, self.port = self._container, None, None
        if container is not None:
            await self.engine.api.remove(container)


def _env(host: str, port: int) -> list[str]:
    return [f"HOST={host}", f"PORT={port}"]


async def _answers(port: int) -> bool:
    """Whether anything speaks HTTP there; a published port accepts before the program does."""
    timeout = aiohttp.ClientTimeout(total=2)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{HOST}:{port}/health"),
        ):
            return True
    except (aiohttp.ClientError, TimeoutError):
        return False


async def remove_leftovers(engine: Engine, folder: Path) -> None:
    """Remove the containers of a sandbox in this folder, best effort."""
    try:
        for container in await engine.api.containers(f"{LABEL}={folder}"):
            await engine.api.remove(container)
    except EngineError:
        return  # an engine that is gone has no containers
