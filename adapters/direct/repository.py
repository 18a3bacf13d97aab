"""One repository of one registry: every request with the login that it wants, renewed in time."""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import anyio

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.http.client import Http
from deployer.adapters.http.exchange import Download
from deployer.adapters.http.url import Url
from deployer.adapters.registry.auth import basic, bearer, bearer_challenge, token_url
from deployer.adapters.registry.client import MANIFEST_MAX, registry_root
from deployer.adapters.registry.errors import registry_failure, registry_refusal, registry_trouble
from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import InvalidNameError

IDLE_SECONDS: Final = 60.0
_REDIRECTS_MAX: Final = 3


class Repository:
    """Asks and sends. Each failure says Pushing; a caller in another state relabels it."""

    def __init__(
        self,
        http: Http,
        registry: str,
        name: str,
        *,
        login: Login | None = None,
        realms: Collection[str] = (),
    ) -> None:
        """Work in `name` at `registry`; without a login only reads, as anybody may.

        `realms`: token servers that may get the login besides the registry's own site.
        """
        self.registry = registry
        self.name = name
        self._http = http
        self._login = login
        self._realms = realms
        self.authorization = basic(login) if login else None  # of the next request; a secret
        self._renewing = anyio.Lock()

    def url(self, path: str) -> str:
        """The URL of `path` in this repository. Raises InvalidNameError."""
        return f"{registry_root(self.registry)}/v2/{self.name}/{path}"

    def located(self, answer: Answer) -> str | Failure:
        """Where an upload goes on; never at another host, because the login goes there too."""
        location = answer.headers.get("location", "")
        root = registry_root(self.registry)
        if location.startswith("/"):
            return f"{root}{location}"
        try:
            found = Url.parse(location)
        except InvalidNameError as error:
            return registry_failure(Kind.NOT_A_REGISTRY, f"the upload's location: {error}", answer)
        if found.host != Url.parse(root).host:
            cause = f"the upload is sent on to {found.host}; the login stays here"
            return registry_failure(Kind.REALM_FOREIGN, cause, answer)
        # A registry behind a proxy often does not know its own scheme and port.
        query = "" if found.query is None else f"?{found.query}"
        return f"{root}{found.path}{query}"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        repeatable: bool = True,
    ) -> Answer | Failure:
        """One small request; `path` is relative to the repository, or a whole URL of it.

        A connection that was kept may be dead: what is `repeatable` is then sent once more.
        """
        url = path if path.startswith("http") else self._checked_url(path)
        if isinstance(url, Failure):
            return url
        used = self.authorization
        tries = 2 if repeatable else 1
        answer = await self._call(method, url, headers or {}, content, tries)
        if not isinstance(answer, Answer) or answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        refused = await self.renew(answer, used)
        return refused or await self._call(method, url, headers or {}, content, tries)

    async def send(
        self, method: str, url: str, body: AsyncIterable[bytes], headers: Mapping[str, str]
    ) -> Answer | Trouble:
        """A body of any length. A 401 is the caller's to renew: the body is spent."""
        return await self._http.upload(
            method, url, headers=self._headers(headers), body=body, idle_seconds=IDLE_SECONDS
        )

    @asynccontextmanager
    async def download(
        self, path: str, accept: Mapping[str, str]
    ) -> AsyncIterator[Download | Failure]:
        """GET `path`, from wherever the registry keeps it. Only its digest makes it credible."""
        settled = await self.ask("HEAD", path, headers=accept)  # renews the login, if need be
        if isinstance(settled, Failure):
            yield settled
            return
        url, headers = self.url(path), self._headers(accept)
        for _ in range(_REDIRECTS_MAX):
            async with self._http.download(
                url, headers=headers, idle_seconds=IDLE_SECONDS
            ) as found:
                if isinstance(found, Trouble):
                    yield registry_trouble(found)
                    return
                if not found.head.is_redirect:
                    yield found if found.head.is_success else registry_refusal(found.head)
                    return
                # A store of files, which must not see the login; the digest is checked anyway.
                url, headers = found.head.headers.get("location", ""), {}
                if url.startswith("/"):
                    url = registry_root(self.registry) + url
        yield registry_failure(Kind.REGISTRY_UNAVAILABLE, f"{path}: too many redirects")

    async def renew(self, refusal: Answer, used: str | None) -> Failure | None:
        """Get the token that `refusal`, a 401 for the login `used`, asks for; None: try again."""
        async with self._renewing:
            if self.authorization != used:
                return None  # somebody else has renewed it meanwhile
            challenge = bearer_challenge(refusal)
            if challenge is None:
                return registry_refusal(refusal)
            url = token_url(
                challenge, registry=self.registry, scope=self._scope, realms=self._realms
            )
            if url is None:
                cause = f"the login is wanted at {challenge.realm!r}; not sent"
                return registry_failure(Kind.REALM_FOREIGN, cause)
            token = await self._token(url)
            if isinstance(token, Failure):
                return token
            self.authorization = token
            return None

    @property
    def _scope(self) -> str:
        return f"repository:{self.name}:{'pull,push' if self._login else 'pull'}"

    async def _token(self, url: str) -> str | Failure:
        headers = {"authorization": basic(self._login)} if self._login else {}
        answer = await self._http.call("GET", url, headers=headers)
        if isinstance(answer, Trouble):
            return registry_trouble(answer)
        if answer.status != HTTPStatus.OK:
            return registry_refusal(answer)
        found = bearer(answer)
        return found or registry_failure(
            Kind.NOT_A_REGISTRY, "the token server sent no token", answer
        )

    async def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        tries: int,
    ) -> Answer | Failure:
        answer: Answer | Trouble = Trouble(Fault.CUT, "not sent")
        while tries and isinstance(answer, Trouble) and answer.fault is Fault.CUT:
            tries -= 1
            answer = await self._http.call(
                method, url, headers=self._headers(headers), content=content, cap=MANIFEST_MAX
            )
        return registry_trouble(answer) if isinstance(answer, Trouble) else answer

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        login = {"authorization": self.authorization} if self.authorization else {}
        return {**login, **headers}

    def _checked_url(self, path: str) -> str | Failure:
        try:
            return self.url(path)
        except InvalidNameError as error:
            return registry_failure(Kind.NOT_A_REGISTRY, str(error))
