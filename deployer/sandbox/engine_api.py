"""The part of the Docker Engine's HTTP API that the sandbox needs."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import anyio

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)
_OK: Final = 300


class EngineError(Exception):
    """The engine refused, or is gone; the message is one line."""


class EngineApi:
    """One engine. Each method raises EngineError."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def version(self) -> str:
        """The engine's own name and version, within 5 seconds."""
        with _deadline(5, "the engine does not answer (within 5 s)"):
            answer = await self._json("GET", "/version")
        parts = [part.get("Name") for part in answer.get("Components") or [] if part.get("Name")]
        return f"{parts[0] if parts else 'Engine'} {answer.get('Version', '?')}"

    async def can_bridge(self) -> bool:
        """Whether containers can have a network of their own, with published ports."""
        networks = json.loads(await self._call("GET", "/networks", None))
        return any(network.get("Driver") == "bridge" for network in networks)

    async def has_image(self, name: str) -> bool:
        """Whether the engine knows an image by this name."""
        try:
            await self._json("GET", f"/images/{name}/json")
        except EngineError:
            await self.version()  # tells "no such image" from "no such engine"
            return False
        return True

    async def pull(self, name: str, password: str | None = None) -> None:
        """Pull `name:tag` or `name@digest`; with a password, as the registry's user `x`."""
        headers = {} if password is None else {"X-Registry-Auth": _login(name, password)}
        await self._stream("/images/create", {"fromImage": name}, headers=headers)

    async def push(self, name: str, registry: str) -> str:
        """Push `name` into a registry on loopback without login; return its name there."""
        there = f"{registry}/library/{name}"
        repository, _, tag = there.rpartition(":")
        await self._json("POST", f"/images/{name}/tag?repo={repository}&tag={tag}")
        try:
            await self._stream(
                f"/images/{repository}/push", {"tag": tag}, headers={"X-Registry-Auth": "e30="}
            )
        finally:
            await self._call("DELETE", f"/images/{there}", None, fine=(404, 409))
        return there

    async def import_image(self, archive: Path, name: str, command: Sequence[str]) -> None:
        """Make `name` from a tar of a root file system."""
        change = f"CMD {json.dumps(list(command))}"
        # The tag within `repo`: podman 4.3 does not heed a `tag` of its own (measured).
        params = {"fromSrc": "-", "repo": name, "changes": change}
        with archive.open("rb") as tar:
            await self._stream("/images/create", params, data=tar)

    async def create(self, name: str, spec: Mapping[str, Any]) -> str:
        """Create a container; return its id."""
        answer = await self._json("POST", f"/containers/create?name={name}", spec)
        return str(answer["Id"])

    async def start(self, container: str) -> None:
        """Start a container."""
        await self._json("POST", f"/containers/{container}/start")

    async def running(self, container: str) -> bool:
        """Whether the container's program runs."""
        answer = await self._json("GET", f"/containers/{container}/json")
        return bool(answer["State"]["Running"])

    async def last_words(self, container: str) -> str:
        """The end of what the container's program wrote, one line."""
        path = f"/containers/{container}/logs?stdout=1&stderr=1&tail=3"
        raw = await self._call("GET", path, None)
        # Each frame has a head of 8 bytes; NUL never occurs in text.
        return " ".join(raw.decode(errors="replace").replace("\x00", " ").split())[-300:]

    async def remove(self, container: str, grace: int = 1) -> None:
        """Stop the container (SIGTERM, then after `grace` seconds SIGKILL) and remove it."""
        await self._call("POST", f"/containers/{container}/stop?t={grace}", None, fine=(304, 404))
        await self._call("DELETE", f"/containers/{container}?force=1&v=1", None, fine=(404, 409))

    async def containers(self, label: str) -> list[str]:
        """Ids of all containers that carry the label, running or not."""
        filters = json.dumps({"label": [label]})
        raw = await self._call("GET", "/containers/json", None, {"all": "1", "filters": filters})
        return [str(each["Id"]) for each in json.loads(raw)]

    async def _json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        raw = await self._call(method, path, body)
        answer = json.loads(raw or b"{}")
        if not isinstance(answer, dict):
            raise EngineError(f"{method} {path}: not an engine's answer")
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        body: object,
        params: Mapping[str, str] | None = None,
        fine: Sequence[int] = (),
    ) -> bytes:
        try:
            async with self._session.request(
                method, self._base + path, json=body, params=params
            ) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, OSError) as error:
            raise _gone(error) from error
        if answer.status >= _OK and answer.status not in fine:
            raise EngineError(_message(raw, answer.status))
        return raw

    async def _stream(
        self,
        path: str,
        params: Mapping[str, str],
        *,
        data: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """POST and read the engine's progress; an error hides in a stream that began with 200."""
        url = self._base + path
        last = b""
        try:
            async with self._session.post(url, params=params, data=data, headers=headers) as answer:
                async for line in answer.content:
                    last = line.strip() or last
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _gone(error) from error
        if answer.status >= _OK or b'"error"' in last:
            raise EngineError(_message(last, answer.status))


@asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[EngineApi]:
    """Talk to the engine at `unix:///path` or `tcp://host:port`; connects with the first call."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("unix", "tcp", "http"):
        raise EngineError(f"the sandbox cannot talk to an engine at {endpoint}")
    connector = aiohttp.UnixConnector(parts.path) if parts.scheme == "unix" else None
    base = "http://engine" if parts.scheme == "unix" else f"http://{parts.netloc}"
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        yield EngineApi(session, base)


@contextmanager
def _deadline(seconds: float, message: str) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as late:
        raise EngineError(message) from late


def _login(name: str, password: str) -> str:
    auth = {"username": "x", "password": password, "serveraddress": name.partition("/")[0]}
    return base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()


def _gone(error: Exception) -> EngineError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return EngineError(f"the engine does not answer ({reason})")


def _message(raw: bytes, status: int) -> str:
    try:
        answer = json.loads(raw)
    except ValueError:
        return f"the engine answered {status}"
    return str(answer.get("message") or answer.get("error") or f"the engine answered {status}")
