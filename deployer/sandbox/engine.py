"""The engine that builds and runs images: the user's own, or a private one that ends with us."""

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import anyio
from anyio.abc import Process

from deployer.sandbox.child import bound, tail
from deployer.sandbox.engine_api import EngineApi, EngineError, connected
from deployer.sandbox.lifeline import NO_WORLD
from deployer.sandbox.options import Options
from deployer.sandbox.places import socket_folder
from deployer.sandbox.programs import Program, Programs
from deployer.sandbox.refusal import Refused, Say

START_SECONDS: Final = 30.0
# Used by the engine and containerd whatever their roots are: sockets, a key, plug-ins. Hidden, so
# that nothing is left there and no system's daemon.json contradicts our flags.
_HIDDEN: Final = tuple(
    map(Path, ("/run/containerd", "/run/docker", "/etc/docker", "/opt/containerd"))
)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers."""

    endpoint: str  # as in DOCKER_HOST
    api: EngineApi
    bridged: bool  # can publish ports; otherwise containers share the host's network


@asynccontextmanager
async def engine(options: Options, programs: Programs, say: Say) -> AsyncIterator[Engine]:
    """The engine that the user has, or a private one, or Refused."""
    endpoint = await _answering(options.environ, say)
    if endpoint is None:
        async with _private_engine(options, programs, say) as private:
            yield private
    else:
        async with connected(endpoint) as api:
            yield Engine(endpoint, api, bridged=await api.can_bridge())


async def _answering(environ: Mapping[str, str], say: Say) -> str | None:
    for endpoint in candidates(environ):
        try:
            async with connected(endpoint) as api:
                say(f"Using {await api.version()} at {endpoint}")
                return endpoint
        except EngineError as error:
            if endpoint == environ.get("DOCKER_HOST"):
                raise Refused(
                    f"DOCKER_HOST is {endpoint}, but {error}. Start that engine, or unset "
                    "DOCKER_HOST for the sandbox to bring one."
                ) from error
            say(f"At {endpoint} {error}")
    return None


def candidates(environ: Mapping[str, str]) -> Iterator[str]:
    """Where an engine may answer, in the order of the docker command line.

    A DOCKER_HOST that the user set is the only candidate: another engine would surprise.
    """
    if chosen := environ.get("DOCKER_HOST"):
        yield chosen
        return
    if chosen := _context_host(environ):
        yield chosen
    runtime = environ.get("XDG_RUNTIME_DIR")
    sockets = ["/var/run/docker.sock", "/run/podman/podman.sock"]
    if runtime:
        sockets += [f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    yield from (f"unix://{path}" for path in sockets if Path(path).is_socket())


def _context_host(environ: Mapping[str, str]) -> str | None:
    """The endpoint of docker's current context, from its files."""
    home = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/root"), ".docker"))
    try:
        config = json.loads((home / "config.json").read_bytes())
        name = environ.get("DOCKER_CONTEXT") or config.get("currentContext") or "default"
        folder = home / "contexts" / "meta" / sha256(name.encode()).hexdigest()
        host = json.loads((folder / "meta.json").read_bytes())["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no docker here, or its default context: the usual sockets are tried
    return host if isinstance(host, str) else None


@asynccontextmanager
async def _private_engine(options: Options, programs: Programs, say: Say) -> AsyncIterator[Engine]:
    if os.geteuid() != 0:
        raise Refused(
            "No engine answers, and only root can run a private one: start Docker, or set "
            "DOCKER_HOST to an engine."
        )
    program = await programs.dockerd()
    log = options.folder / "engine.log"
    log.unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        socket = stack.enter_context(socket_folder(options.folder)) / "engine.sock"
        endpoint = f"unix://{socket}"
        api = await stack.enter_async_context(connected(endpoint))
        # Overlay on overlay (a container's own disk) is refused by some kernels; vfs never is.
        for storage in ((), ("--storage-driver=vfs",)):
            argv = _dockerd_argv(program, options.folder, endpoint, storage)
            private = (options.folder / "exec", *_HIDDEN)
            process = await stack.enter_async_context(
                bound(argv, env=program.env, log=log, private=private)
            )
            if await _comes_up(api, process):
                say(f"Started a private {await api.version()} in {options.folder}")
                yield Engine(endpoint, api, bridged=False)
                return
            if process.returncode == NO_WORLD:
                raise Refused(
                    "A private engine cannot run here: the kernel gives this user no namespaces. "
                    "Start Docker, or set DOCKER_HOST to an engine."
                )
        raise Refused(f"The private engine does not start; see {log}:\n{tail(log)}")


def _dockerd_argv(
    program: Program, folder: Path, endpoint: str, storage: Sequence[str]
) -> list[str]:
    """No bridge and no packet filter: the machine's own network is not touched."""
    run = folder / "exec"
    return [
        program.path,
        f"--data-root={folder / 'engine'}",
        f"--exec-root={run}",
        f"--pidfile={run / 'dockerd.pid'}",
        f"--host={endpoint}",
        # systemd's driver would hand it process ids of our own PID namespace.
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--shutdown-timeout=2",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        *storage,
    ]


async def _comes_up(api: EngineApi, process: Process) -> bool:
    with anyio.move_on_after(START_SECONDS):
        while process.returncode is None:
            try:
                await api.version()
            except EngineError:
                await anyio.sleep(0.1)
            else:
                return True
    return False
