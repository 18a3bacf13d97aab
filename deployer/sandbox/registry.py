"""A real registry: the distribution project's program, or its image where no program can be had."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import anyio
import yaml

from deployer.sandbox.child import bound, tail
from deployer.sandbox.engine import Engine
from deployer.sandbox.engine_api import EngineError
from deployer.sandbox.loopback import HOST, free_port
from deployer.sandbox.options import Options
from deployer.sandbox.programs import Program, Programs
from deployer.sandbox.refusal import Refused, Say

START_SECONDS: Final = 20.0
IMAGE: Final = "registry:2"
_OK: Final = 200


@asynccontextmanager
async def registry(
    options: Options, programs: Programs, engine: Engine | None, say: Say
) -> AsyncIterator[str]:
    """Run a registry without any login; yield its `host:port`. Raises Refused."""
    try:
        program = await programs.registry()
    except Refused as no_program:
        if engine is None:
            raise
        async with _in_container(options, engine, say, no_program) as address:
            yield address
    else:
        async with _as_program(options, program) as address:
            yield address


@asynccontextmanager
async def _as_program(options: Options, program: Program) -> AsyncIterator[str]:
    address = f"{HOST}:{free_port()}"
    config = options.folder / "registry.yml"
    config.write_text(yaml.safe_dump(_configuration(options, address)))
    log = options.folder / "registry.log"
    log.unlink(missing_ok=True)
    async with bound([program.path, "serve", str(config)], env=program.env, log=log):
        await _comes_up(address, f"see {log}:\n{tail(log)}")
        yield address


def _configuration(options: Options, address: str) -> dict[str, Any]:
    storage = {
        "filesystem": {"rootdirectory": str(options.folder / "registry")},
        "delete": {"enabled": True},
        "maintenance": {"uploadpurging": {"enabled": False}},
    }
    # Relative locations lead the engine back to the gate, through which it came.
    http = {"addr": address, "relativeurls": True}
    return {"version": 0.1, "log": {"level": "warn"}, "storage": storage, "http": http}


@asynccontextmanager
async def _in_container(
    options: Options, engine: Engine, say: Say, no_program: Refused
) -> AsyncIterator[str]:
    port = free_port()
    spec = {
        "Image": IMAGE,
        "Labels": {"deployer.sandbox": str(options.folder)},
        "Env": ["REGISTRY_HTTP_RELATIVEURLS=true", "REGISTRY_LOG_LEVEL=warn"],
        "ExposedPorts": {"5000/tcp": {}},
        "HostConfig": {"PortBindings": {"5000/tcp": [{"HostIp": HOST, "HostPort": str(port)}]}},
    }
    try:
        if not await engine.api.has_image(IMAGE):
            await engine.api.pull(IMAGE)
        container = await engine.api.create(f"deployer-sandbox-registry-{port}", spec)
    except EngineError as error:
        raise Refused(f"{no_program} (The image {IMAGE} is no way out either: {error}.)") from error
    try:
        await engine.api.start(container)
        say(f"Started {IMAGE} in the engine")
        await _comes_up(f"{HOST}:{port}", f"see `docker logs {container[:12]}`")
        yield f"{HOST}:{port}"
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(5):
            await engine.api.remove(container)


async def _comes_up(address: str, where_to_look: str) -> None:
    with anyio.move_on_after(START_SECONDS):
        async with aiohttp.ClientSession() as session:
            while not await _answers(session, address):  # noqa: ASYNC110  # it calls nobody back
                await anyio.sleep(0.05)
            return
    raise Refused(f"The registry does not start; {where_to_look}")


async def _answers(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"http://{address}/v2/") as answer:
            return answer.status == _OK
    except aiohttp.ClientError:
        return False
