"""One request carried out: httpx's many ways to fail, as answers and troubles."""

import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.text import clean

CONNECT_SECONDS: Final = 10.0
BODY_MAX: Final = 1024 * 1024  # bytes
_PIECE: Final = 256 * 1024  # bytes
NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
# Not all of these are an httpx.TransportError, and StreamError is not even an HTTPError.
BROKEN: Final = (httpx.HTTPError, httpx.StreamError)


@dataclass(slots=True)
class Deadline:
    """When a call ends at the latest; a body that moves may push it further."""

    seconds: float
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def restart(self) -> None:
        """All the seconds, from now on."""
        self.scope.deadline = anyio.current_time() + self.seconds


class Download:
    """A body on its way. Who has read it to the end asks `trouble` whether it came whole."""

    def __init__(self, response: httpx.Response, idle_seconds: float) -> None:
        """Read from `response`; no piece may take longer than `idle_seconds`."""
        self._response = response
        self._idle_seconds = idle_seconds
        self.head = Answer(response.status_code, dict(response.headers), b"")
        self.trouble: Trouble | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes, 256 KiB at a time."""
        pieces = self._response.aiter_raw(_PIECE)
        while (piece := await self._next(pieces)) is not None:
            yield piece

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        try:
            with anyio.fail_after(self._idle_seconds):
                return await anext(pieces, None)
        except (TimeoutError, httpx.TimeoutException):
            self.trouble = Trouble(Fault.SLOW, f"nothing came for {self._idle_seconds:g} s")
        except BROKEN as error:
            self.trouble = _cut(error)
        return None


async def opened(
    client: httpx.AsyncClient, request: httpx.Request, seconds: float
) -> httpx.Response | Trouble:
    """The answer with its body still to come; the caller closes it."""
    try:
        with anyio.fail_after(seconds):
            return await client.send(request, stream=True)
    except NOT_SENT as error:
        return _not_sent(request.url.host, error)
    except (TimeoutError, httpx.TimeoutException):
        return Trouble(Fault.SLOW, f"no answer within {seconds:g} s")
    except BROKEN as error:
        return _cut(error)


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, deadline: Deadline, cap: int = BODY_MAX
) -> Answer | Trouble:
    """The whole answer to `request`, at most `cap` bytes of it."""
    head: Answer | None = None
    outcome: Answer | Trouble = Trouble(Fault.SLOW, _no_whole_answer(deadline))
    deadline.restart()
    try:
        # httpx counts a timeout per chunk: two bytes a second ran past it for ever (measured).
        with deadline.scope:
            response = await client.send(request, stream=True)
            try:
                head = Answer(response.status_code, dict(response.headers), b"")
                outcome = await _read(response, head, cap)
            finally:
                await response.aclose()
    except NOT_SENT as error:
        outcome = _not_sent(request.url.host, error)
    except httpx.TimeoutException:
        outcome = Trouble(Fault.SLOW, _no_whole_answer(deadline))
    except BROKEN as error:
        outcome = _cut(error)
    # A refusal is complete with its status line; what is lost is only its explanation.
    if isinstance(outcome, Trouble) and head is not None and not head.is_success:
        return head
    return outcome


def _no_whole_answer(deadline: Deadline) -> str:
    return f"no whole answer within {deadline.seconds:g} s"


def _cut(error: httpx.HTTPError | httpx.StreamError) -> Trouble:
    return Trouble(Fault.CUT, clean(str(error)) or "the connection was reset")


async def _read(response: httpx.Response, head: Answer, cap: int) -> Answer | Trouble:
    encoding = head.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        return Trouble(Fault.UNREADABLE, clean(f"the body is packed as {encoding}, unasked"))
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > cap:
            return Trouble(Fault.UNREADABLE, f"the body has more than {cap} bytes")
    return Answer(head.status, head.headers, bytes(body))


def _not_sent(host: str, error: httpx.HTTPError | httpx.InvalidURL) -> Trouble:
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Trouble(Fault.TLS, clean(f"{host}: {cause.verify_message}"))
        if isinstance(cause, ssl.SSLError):
            return Trouble(Fault.TLS, clean(f"{host}: {cause.reason or cause}"))
    if isinstance(error, httpx.TimeoutException):
        return Trouble(Fault.UNREACHABLE, f"{host}: no connection within {CONNECT_SECONDS:g} s")
    # "All connection attempts failed" says nothing; the system's own word lies below it.
    words = [_word(cause) for cause in _chain(error) if isinstance(cause, OSError)]
    word = next((word for word in reversed(words) if word), error)
    return Trouble(Fault.UNREACHABLE, clean(f"{host}: {word}"))


def _word(error: OSError) -> str | None:
    # asyncio writes "Connect call failed" over the system's word, but keeps its number.
    if error.errno is None or isinstance(error, socket.gaierror):
        return error.strerror
    return os.strerror(error.errno)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, outermost first; a group's members one after the other."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                yield from _chain(member)
        error = error.__cause__ or error.__context__
