"""One request, one answer or one trouble: the only place that knows httpx."""

import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Final, Self

import anyio
import httpx

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.http.url import Url
from deployer.adapters.text import clean
from deployer.model import InvalidNameError

CONNECT_SECONDS: Final = 10.0
DEADLINE_SECONDS: Final = 30.0  # of a whole call: connecting, sending, and the last byte
BODY_MAX: Final = 1024 * 1024  # bytes

# What h11 accepts of a header's value, less its tab. Checked here because h11's own complaint
# quotes the value, and a token is a value.
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
# Not all of these are an httpx.TransportError, and StreamError is not even an HTTPError.
_BROKEN: Final = (httpx.HTTPError, httpx.StreamError)


class Http:
    """The httpx client of all adapters, opened at the first call and closed by `async with`.

    Follows no redirect, keeps no cookie and no connection, heeds no environment, and checks
    certificates always.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`ca_file`: trusted besides the public authorities. `transport`: for tests."""
        self._ca_file = ca_file
        self._transport = transport
        self._clients: dict[str, httpx.AsyncClient] = {}  # by scheme

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        cap: int = BODY_MAX,
    ) -> Answer | Trouble:
        """Send one request on a connection of its own; the deadline is total.

        `url` may hold no secret: httpx logs it. A secret may be in `headers`.
        """
        target = _checked(url, headers or {})
        if isinstance(target, Trouble):
            return target
        try:
            client = self._client(target.scheme)
        except (OSError, ssl.SSLError) as error:
            return Trouble(Fault.TLS, clean(f"CA file {self._ca_file}: {error}"))
        # The deadline ends the wait, not a read: a server may work long before its first byte.
        timeout = httpx.Timeout(deadline_seconds, connect=CONNECT_SECONDS)
        try:
            request = client.build_request(
                method, url, headers=headers, content=content, timeout=timeout
            )
        except (httpx.InvalidURL, UnicodeError):  # the second one for xn--… that decodes to nothing
            return Trouble(Fault.URL, "the URL names no host that can exist")
        return await _exchange(client, request, deadline_seconds, cap)

    def _client(self, scheme: str) -> httpx.AsyncClient:
        if scheme not in self._clients:
            self._clients[scheme] = self._open(scheme)
        return self._clients[scheme]

    def _open(self, scheme: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            # Reading the authorities takes 16 ms; plain HTTP needs none, and trusts none.
            verify=_trust(self._ca_file) if scheme == "https" else _trust_nobody(),
            transport=self._transport,
            follow_redirects=False,
            trust_env=False,
            # A kept connection may die under a POST, and nobody knows if the POST arrived.
            limits=httpx.Limits(max_keepalive_connections=0),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={
                "user-agent": "deployer",
                # Packed, 48 kB of answer became one 50 MB chunk (measured).
                "accept-encoding": "identity",
            },
        )


def _trust_nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    # httpx names the bundle itself; OpenSSL's default paths would obey SSL_CERT_FILE.
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def _checked(url: str, headers: Mapping[str, str]) -> Url | Trouble:
    """`url`, parsed; a Trouble for what must not be sent, whoever asks."""
    try:
        target = Url.parse(url)
    except InvalidNameError as error:
        return Trouble(Fault.URL, str(error))
    if "authorization" in headers and not target.is_private_to_us:
        return Trouble(Fault.URL, "a login is not sent over plain HTTP to another machine")
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            return Trouble(Fault.HEADER, f"{name} has characters that no HTTP header may have")
    return target


async def _exchange(
    client: httpx.AsyncClient, request: httpx.Request, deadline_seconds: float, cap: int
) -> Answer | Trouble:
    head: Answer | None = None
    try:
        # httpx counts a timeout per chunk: two bytes a second ran past it for ever (measured).
        with anyio.fail_after(deadline_seconds):
            response = await client.send(request, stream=True)
            try:
                head = Answer(response.status_code, dict(response.headers), b"")
                outcome = await _read(response, head, cap)
            finally:
                await response.aclose()
    except _NOT_SENT as error:
        outcome = _not_sent(request.url.host, error)
    except (TimeoutError, httpx.TimeoutException):  # anyio's is none of httpx's
        outcome = Trouble(Fault.SLOW, f"no whole answer within {deadline_seconds:g} s")
    except _BROKEN as error:
        outcome = Trouble(Fault.CUT, clean(str(error)) or "the connection was reset")
    # A refusal is complete with its status line; what is lost is only its explanation.
    if isinstance(outcome, Trouble) and head is not None and not head.is_success:
        return head
    return outcome


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
