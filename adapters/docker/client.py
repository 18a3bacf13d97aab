"""One connection to the engine: opened for one operation, and really ended with it."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final
from urllib.parse import urlsplit

import aiodocker
import aiohttp
import anyio
from aiohttp.http_exceptions import HttpProcessingError

from deployer.adapters.docker.knock import NOT_FOUND, unanswered
from deployer.adapters.http.url import is_loopback
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.model import Image
from deployer.names import ImageId, ImageRef, parse_image_id
from deployer.states.flow import State

# A name goes into the path of a URL: `x/../../containers/prune?a=` called that (measured).
LOCAL_NAME: Final = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9\[][A-Za-z0-9._:@/\[\]-]*")
PLATFORM: Final = ("linux", "amd64")  # what Fly machines run
CALL_SECONDS: Final = 30.0  # inspect, tag, remove: they move nothing
_CLOSE_SECONDS: Final = 5.0
_NO_CONNECTION: Final = 900  # aiodocker's own status

# All that aiodocker 0.27 raises while it talks. KeyError, TypeError, ValueError, RecursionError:
# the answer is no engine's JSON.
CLIENT_ERRORS: Final = (
    aiodocker.DockerError,
    aiohttp.ClientError,
    HttpProcessingError,  # a line above 512 KiB
    TimeoutError,
    KeyError,
    TypeError,
    ValueError,
    RecursionError,
    OSError,
)

# What its constructor raises for a broken DOCKER_HOST, context, config.json or certificate.
_BAD_ADDRESS: Final = (
    aiodocker.DockerError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    OSError,
)


class EndpointError(ValueError):
    """An address that cannot, or must not, be used; the message says why."""


class NoEndpointError(ValueError):
    """No address was given, and none was found."""


@asynccontextmanager
async def connected(endpoint: str | None) -> AsyncIterator[aiodocker.Docker]:
    """A client for one operation. Leaving ends it at the engine, too, whatever it was doing.

    aiodocker never closes the answer of a stream that is left early: the engine built and pushed
    on (measured). Closed here, a cancelled build stopped within 0.1 s.
    """
    client = _client(endpoint)
    answers: list[aiohttp.ClientResponse] = []

    async def keep(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        done: aiohttp.TraceRequestEndParams,
    ) -> None:
        answers.append(done.response)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(keep)
    trace.on_request_redirect.append(_refuse_redirect)
    trace.freeze()
    client.session.trace_configs.append(trace)
    try:
        _refuse_clear_text(client)
        yield client
    finally:
        for answer in answers:
            answer.close()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await client.close()


def _client(endpoint: str | None) -> aiodocker.Docker:
    try:
        return aiodocker.Docker(endpoint)
    except AssertionError as error:
        raise NoEndpointError from error
    except _BAD_ADDRESS as error:
        if "Missing valid docker_host" in str(error):  # python -O has no assertions
            raise NoEndpointError from error
        raise EndpointError(str(error)) from error


def _refuse_clear_text(client: aiodocker.Docker) -> None:
    """The registry's password and the image would go over the net in clear."""
    address = urlsplit(client.docker_host)  # https, if the context or DOCKER_TLS_VERIFY says so
    if address.scheme in ("tcp", "http") and not is_loopback(address.hostname or ""):
        raise EndpointError(f"{shown_endpoint(client)} is a network address without TLS")


async def _refuse_redirect(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    redirect: aiohttp.TraceRequestRedirectParams,
) -> None:
    """The client would follow, and show the registry's login to whoever is named (measured)."""
    redirect.response.close()
    location = redirect.response.headers.get("Location", "")
    raise EndpointError(f"what answers there is no engine: it sends {redirect.url} to {location}")


def shown_endpoint(client: aiodocker.Docker) -> str:
    """The address in use, without a user or a password in it."""
    if isinstance(client.connector, aiohttp.UnixConnector):
        return f"unix://{client.connector.path}"
    address = urlsplit(client.docker_host)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalImage:
    """An image as the engine has it."""

    image_id: ImageId
    os: str
    architecture: str
    size: int  # bytes
    is_index: bool = False  # a list of manifests; attestations make one
    has_triggers: bool = False  # ONBUILD: steps that run when it is built upon
    diff_ids: tuple[str, ...] = ()  # its layers, the lowest first

    def under(self, tag: str) -> Image:
        """The image that a run made, by the name that it has there."""
        return Image(
            image_id=self.image_id,
            local_tag=tag,
            os=self.os,
            architecture=self.architecture,
            size=self.size,
        )


async def inspected(engine: aiodocker.Docker, name: str) -> LocalImage | None:
    """The image behind a local name or id; None when there is none. Raises CLIENT_ERRORS."""
    try:
        with anyio.fail_after(CALL_SECONDS):
            found = await engine.images.inspect(name)
    except aiodocker.DockerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    return LocalImage(
        image_id=parse_image_id(found["Id"]),
        os=str(found["Os"]),
        architecture=str(found["Architecture"]),
        size=int(found["Size"]),
        is_index=_is_index(found.get("Descriptor")),
        has_triggers=bool((found.get("Config") or {}).get("OnBuild")),
        diff_ids=tuple(map(str, (found.get("RootFS") or {}).get("Layers") or ())),
    )


def _is_index(descriptor: object) -> bool:
    """What an engine with containerd's store says of an image; others say nothing of the kind."""
    match descriptor:
        case {"mediaType": str(media_type)}:
            return media_type.endswith((".image.index.v1+json", ".manifest.list.v2+json"))
    return False


async def described(engine: aiodocker.Docker, name: str) -> bytes:
    """Configuration and history of an image, as the engine tells them. Raises CLIENT_ERRORS."""
    with anyio.fail_after(CALL_SECONDS):
        told = (await engine.images.inspect(name), await engine.images.history(name))
    return json.dumps(told, ensure_ascii=False).encode()


async def tag(engine: aiodocker.Docker, name: str, target: ImageRef) -> None:
    """Give a local image the name `target`, too. Raises CLIENT_ERRORS."""
    with anyio.fail_after(CALL_SECONDS):
        await engine.images.tag(name, target.name, tag=target.tag)


async def tag_locally(engine: aiodocker.Docker, name: str, kept: str) -> None:
    """Give a local image the name `kept`, too. Raises CLIENT_ERRORS."""
    repository, _, label = kept.rpartition(":")
    with anyio.fail_after(CALL_SECONDS):
        await engine.images.tag(name, repository, tag=label)


async def retain(engine: aiodocker.Docker, name: str, kept: str) -> None:
    """Move the name `kept` to a local image; the image it leaves goes. Raises CLIENT_ERRORS."""
    before = await inspected(engine, kept)
    await tag_locally(engine, name, kept)
    after = await inspected(engine, kept)
    if before and after and before.image_id != after.image_id:
        await remove(engine, before.image_id)  # refused by the engine while it has other names


async def remove(engine: aiodocker.Docker, name: str) -> None:
    """Take a name off its image, and the image away with its last one. Raises CLIENT_ERRORS."""
    with anyio.fail_after(CALL_SECONDS):
        await engine.images.delete(name)


def engine_message(error: Exception) -> tuple[str, int] | None:
    """What the engine itself said, and its HTTP status (0 inside a stream); None: it said nothing."""
    if isinstance(error, aiodocker.DockerError) and error.status != _NO_CONNECTION:
        return str(error.message), error.status
    return None


def client_failure(error: Exception, phase: State, died: Kind) -> Failure:
    """What one of CLIENT_ERRORS means in `phase`; `died` is the kind of a lost connection."""
    kind, cause = _classified(error, died)
    return Failure(phase=phase, kind=kind, cause=clean(cause))


def _classified(error: Exception, died: Kind) -> tuple[Kind, str]:
    match error:
        case NoEndpointError():
            return Kind.ENGINE_DOWN, NOT_FOUND
        case EndpointError():
            return Kind.ENGINE_CONTEXT, str(error)
        case aiodocker.DockerError(status=status) if status == _NO_CONNECTION:
            return _unconnected(error, died)
        case aiodocker.DockerError():
            return Kind.ENGINE_GARBAGE, str(error)
        case TimeoutError():
            return Kind.ENGINE_SILENT, "the engine did not answer in time"
        case aiohttp.ClientError() | OSError():
            return died, f"the connection to the engine broke: {error!r}"
    return Kind.ENGINE_GARBAGE, f"the engine's answer makes no sense: {error!r}"


def _unconnected(error: aiodocker.DockerError, died: Kind) -> tuple[Kind, str]:
    match error.__context__:
        # A handshake that fails, or a name that does not resolve, is a wrong address.
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorDNSError():
            return Kind.ENGINE_CONTEXT, error.message
        case aiohttp.ClientConnectorError(os_error=cause):
            # The client names the address, and then says the same again in brackets.
            return unanswered(error.message.partition(" [")[0].rpartition(" ")[2], cause)
    # It was connected, and then lost: while the context was sent, for example.
    return died, error.message
