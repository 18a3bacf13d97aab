"""Whether anything listens where an engine would be, asked without the engine's client.

Importing aiodocker takes a fifth of a second: too much to find out that there is no engine.
"""

import errno
import json
import os
from pathlib import Path
from typing import Final

import anyio

from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.states.flow import State

NOT_FOUND: Final = "no engine's socket was found, and DOCKER_HOST is not set"
# Where aiodocker looks when nobody named an engine; a test compares the two.
SOCKETS: Final = (
    Path("/run/docker.sock"),
    Path("/var/run/docker.sock"),
    Path.home() / ".docker/run/docker.sock",
)
_UNIX: Final = "unix://"
_BY_ERRNO: Final = {
    errno.ENOENT: Kind.ENGINE_DOWN,
    errno.ECONNREFUSED: Kind.ENGINE_DOWN,
    errno.EACCES: Kind.ENGINE_FORBIDDEN,
    errno.EPERM: Kind.ENGINE_FORBIDDEN,
    errno.ENOTDIR: Kind.ENGINE_CONTEXT,
    errno.ENOTSOCK: Kind.ENGINE_CONTEXT,
}


async def knock(endpoint: str | None) -> Failure | str | None:
    """The socket behind `endpoint`, if somebody listens; the failure, if nobody does.

    None: only the engine's client can tell.
    """
    place = endpoint or await anyio.to_thread.run_sync(_usual_place)
    if place is None:
        return Failure(phase=State.IMAGING, kind=Kind.ENGINE_DOWN, cause=NOT_FOUND)
    if not place.startswith(_UNIX):
        return None
    socket = place.removeprefix(_UNIX)
    try:
        async with await anyio.connect_unix(socket):
            return socket
    except OSError as error:
        kind, cause = unanswered(place, error)
        return Failure(phase=State.IMAGING, kind=kind, cause=clean(cause))


def unanswered(address: str, error: OSError) -> tuple[Kind, str]:
    """What a connection means that could not be made."""
    kind = _BY_ERRNO.get(error.errno or 0, Kind.ENGINE_DOWN)
    return kind, f"no engine answers at {address}: {error.strerror or error}"


def _usual_place() -> str | None:
    """The first of the usual sockets; "" where somebody named an engine: its client finds that."""
    if "DOCKER_HOST" in os.environ or _names_a_context():
        return ""
    return next((f"{_UNIX}{path}" for path in SOCKETS if path.is_socket()), None)


def _names_a_context() -> bool:
    name = os.environ.get("DOCKER_CONTEXT")
    try:
        if name is None:
            config = json.loads((Path.home() / ".docker/config.json").read_bytes())
            name = config.get("currentContext")
    except OSError:
        return False
    except (ValueError, AttributeError):
        return True  # broken: the client says how
    return name not in (None, "default")
