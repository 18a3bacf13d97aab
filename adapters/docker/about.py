"""What an engine says of itself, understood the same way whoever has asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio

from deployer.adapters.http.answer import Answer
from deployer.adapters.http.client import Http
from deployer.adapters.text import clean
from deployer.ports import EngineInfo

_SECONDS: Final = 5.0


async def told(socket: str, question: str) -> Mapping[str, Any] | None:
    """An engine's answer to GET /`question`; None: its client knows better what is wrong.

    Asked with the HTTP client that every deploy has, because the engine's own takes a fifth of a
    second to import: time that there is while cargo runs.
    """
    async with Http.at_socket(socket) as http:
        url = f"http://localhost/{question}"
        answer = await http.call("GET", url, deadline_seconds=_SECONDS)
    found = answer.json() if isinstance(answer, Answer) and answer.is_success else None
    return found if isinstance(found, dict) else None


def engine_info(endpoint: str, version: Mapping[str, Any]) -> EngineInfo:
    """The engine by its answer to /version. Raises KeyError, TypeError: it is no engine's."""
    if not isinstance(version["ApiVersion"], str):  # without it the client cannot speak to it
        raise TypeError("ApiVersion")
    parts = [str(part["Name"]) for part in version.get("Components") or ()]
    podman = next((name for name in parts if "podman" in name.lower()), None)
    return EngineInfo(
        endpoint=clean(endpoint),
        version=clean(str(version["Version"])),
        vendor=clean(podman or "Docker Engine"),
        platform=clean(f"{version.get('Os', '')}/{version.get('Arch', '')}".strip("/")),
    )


async def data_root(endpoint: str, info: Mapping[str, Any]) -> Path | None:
    """Where it keeps images, by its answer to /info, if that is a directory of this machine."""
    root = Path(str(info.get("DockerRootDir") or ""))
    # Behind a socket of this machine; an engine in a virtual machine has its own disk.
    is_here = endpoint.startswith("unix://") and root.is_absolute()
    return root if is_here and await anyio.Path(root).is_dir() else None
