"""One request, one answer or one trouble. This module and `exchange` alone know httpx."""

import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Final, Self

import anyio
import httpx

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.http.exchange import (
    BODY_MAX,
    CONNECT_SECONDS,
    Deadline,
    Download,
    exchange,
    opened,
)
from deployer.adapters.http.url import Url
from deployer.adapters.text import clean
from deployer.adapters.threads import in_thread
from deployer.names import InvalidNameError

DEADLINE_SECONDS: Final = 30.0  # of a whole call: connecting, sending, and the last byte

# What h11 accepts of a header's value, less its tab. Checked here because h11's own complaint
# quotes the value, and a token is a value.
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


class Http:
    """The httpx client of all adapters, opened at the first call and closed by `async with`.

    Follows no redirect, keeps no cookie and, unasked, no connection, heeds no environment, and
    checks certificates always.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        kept_connections: int = 0,
    ) -> None:
        """`ca_file`: trusted besides the public authorities. `transport`: for tests.

        `kept_connections`: only where each request may be repeated. A kept connection may die
        under one, and nobody knows if it arrived.
        """
        self._trust = _Trust(ca_file)
        self._transport = transport
        self._kept_connections = kept_connections
        self._clients: dict[str, httpx.AsyncClient] = {}  # by scheme

    @classmethod
    def at_socket(cls, path: str) -> "Http":
        """A client whose every request goes to a socket of this machine, whatever its URL names."""
        return cls(transport=httpx.AsyncHTTPTransport(uds=path))

    def keeping(self, connections: int) -> "Http":
        """Another client, with the same trust, for requests that may all be repeated."""
        other = Http(transport=self._transport, kept_connections=connections)
        other._trust = self._trust  # reading the authorities takes 30 ms
        return other

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def prepare(self, scheme: str) -> None:
        """Open the client for `scheme` beside the event loop, before there is something to send.

        What httpx imports at its first client takes 30 ms, and reading the authorities as long.
        """
        with suppress(OSError, ssl.SSLError):  # the call that needs it tells
            await in_thread(lambda: self._client(scheme))

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
        ready = self._ready(method, url, headers or {}, content, deadline_seconds)
        if isinstance(ready, Trouble):
            return ready
        return await exchange(*ready, Deadline(deadline_seconds), cap)

    async def upload(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: AsyncIterable[bytes],
        idle_seconds: float,
    ) -> Answer | Trouble:
        """Send a body of any length; the deadline begins anew with each of its pieces.

        Pieces of 256 KiB and more cost the least time (measured).
        """
        deadline = Deadline(idle_seconds)

        async def moving() -> AsyncIterator[bytes]:
            async for piece in body:
                deadline.restart()
                yield piece

        ready = self._ready(method, url, headers, moving(), idle_seconds)
        if isinstance(ready, Trouble):
            return ready
        return await exchange(*ready, deadline)

    @asynccontextmanager
    async def download(
        self, url: str, *, headers: Mapping[str, str], idle_seconds: float
    ) -> AsyncIterator[Download | Trouble]:
        """GET a body of any length; what ends it early stands in the Download."""
        ready = self._ready("GET", url, headers, None, idle_seconds)
        response = ready if isinstance(ready, Trouble) else await opened(*ready, idle_seconds)
        if isinstance(response, Trouble):
            yield response
            return
        try:
            yield Download(response, idle_seconds)
        finally:
            with anyio.CancelScope(shield=True):  # it only closes the socket
                await response.aclose()

    def _ready(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | AsyncIterable[bytes] | None,
        seconds: float,
    ) -> tuple[httpx.AsyncClient, httpx.Request] | Trouble:
        target = _checked(url, headers)
        if isinstance(target, Trouble):
            return target
        try:
            client = self._client(target.scheme)
        except (OSError, ssl.SSLError) as error:
            return Trouble(Fault.TLS, clean(f"CA file {self._trust.ca_file}: {error}"))
        # The deadline ends the wait, not a read: a server may work long before its first byte.
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        try:
            request = client.build_request(
                method, url, headers=headers, content=content, timeout=timeout
            )
        except (httpx.InvalidURL, UnicodeError):  # the second one for xn--… that decodes to nothing
            return Trouble(Fault.URL, "the URL names no host that can exist")
        return client, request

    def _client(self, scheme: str) -> httpx.AsyncClient:
        if scheme not in self._clients:
            # Two deploys may open one at once, in threads: the first is everybody's.
            self._clients.setdefault(scheme, self._open(scheme))
        return self._clients[scheme]

    def _open(self, scheme: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            # Plain HTTP needs no authorities, and trusts none.
            verify=self._trust.context if scheme == "https" else _trust_nobody(),
            transport=self._transport,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=self._kept_connections),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            headers={
                "user-agent": "deployer",
                # Packed, 48 kB of answer became one 50 MB chunk (measured).
                "accept-encoding": "identity",
            },
        )


def _trust_nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Trust:
    """Whose certificates are believed; read when the first TLS connection is made."""

    def __init__(self, ca_file: Path | None) -> None:
        self.ca_file = ca_file

    @cached_property
    def context(self) -> ssl.SSLContext:
        # httpx names the bundle itself; OpenSSL's default paths would obey SSL_CERT_FILE.
        context = httpx.create_ssl_context(trust_env=False)
        if self.ca_file is not None:
            context.load_verify_locations(cafile=self.ca_file)
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
