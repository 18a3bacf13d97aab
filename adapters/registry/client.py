"""The registry as we see it ourselves: is it one, what has it under a tag, move a tag."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from deployer.adapters.http.answer import Answer, Trouble
from deployer.adapters.http.client import Http
from deployer.adapters.http.url import Url
from deployer.adapters.registry.auth import Bearer, basic, bearer, bearer_challenge, token_url
from deployer.adapters.registry.errors import (
    registry_failure,
    registry_refusal,
    registry_trouble,
)
from deployer.adapters.registry.uploads import session_path
from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import Digest, ImageRef, InvalidNameError, parse_digest, quoted

MANIFEST_MAX: Final = 4 * 1024 * 1024  # bytes; the distribution specification's own limit
MANIFEST_TYPES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    registry: str
    path: str  # below /v2/
    method: str = "GET"
    scope: str | None = None  # what a token must allow
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


class Registry:
    """Fits `ports.Registry`. Each failure says Pushing; a caller in another state relabels it."""

    def __init__(self, http: Http, *, realm_hosts: Collection[str] = frozenset()) -> None:
        """`realm_hosts`: token servers that may get the login besides the registry's own site."""
        self._http = http
        self._realm_hosts = frozenset(realm_hosts)

    async def probe(self, login: Login) -> Failure | None:
        """GET /v2/ with the login: None when a registry answers, and takes it."""
        answer = await self._ask(_Request(registry=login.registry, path=""), login)
        if isinstance(answer, Failure):
            return answer
        if answer.status != HTTPStatus.OK:
            return registry_refusal(answer)
        version = answer.headers.get("docker-distribution-api-version", "")
        # The header is not demanded any more; a captive portal's 200 has neither.
        if version == "registry/2.0" or isinstance(answer.json(), dict):
            return None
        return registry_failure(
            Kind.NOT_A_REGISTRY, "/v2/ answers 200, but not as a registry does", answer
        )

    async def may_push(self, ref: ImageRef, login: Login) -> Failure | None:
        """Open an upload session for `ref`'s repository and end it: None when uploads are let in."""
        upload = _Request(
            registry=ref.registry,
            path=f"{ref.repository}/blobs/uploads/",
            method="POST",
            scope=f"repository:{ref.repository}:pull,push",
            content=b"",
        )
        answer = await self._ask(upload, login)
        if isinstance(answer, Failure):
            return answer
        if answer.status != HTTPStatus.ACCEPTED:
            return registry_refusal(answer)
        session = session_path(answer, ref.registry)
        if session is not None:
            # A registry that does not end it on demand ends it by its own clock.
            await self._ask(replace(upload, path=session, method="DELETE", content=None), login)
        return None

    async def digest(self, ref: ImageRef, login: Login) -> Digest | Failure | None:
        """HEAD the manifest; None when the registry has none under this tag."""
        head = await self._manifest("HEAD", ref, ref.tag, login)
        if not isinstance(head, Answer):
            return head
        named = _named_digest(head)
        if named is not None:
            return named
        whole = await self._manifest("GET", ref, ref.tag, login)
        return _digest_of(whole) if isinstance(whole, Answer) else whole

    async def retag(self, ref: ImageRef, digest: Digest, login: Login) -> Failure | None:
        """PUT the manifest `digest` under `ref`'s tag, byte for byte; no layer moves."""
        manifest = await self._manifest("GET", ref, digest, login)
        if manifest is None:
            return registry_failure(
                Kind.NO_ROLLBACK, f"{ref.name} has no manifest {digest} any more"
            )
        if isinstance(manifest, Failure):
            return manifest
        if _digest_of(manifest) != digest:
            return registry_failure(Kind.DIGEST_MISMATCH, f"the manifest is not {digest}", manifest)
        answer = await self._ask(_put(ref, manifest), login)
        if isinstance(answer, Failure):
            return answer
        if not answer.is_success:
            return registry_refusal(answer)
        stored = _named_digest(answer) or await self.digest(ref, login)
        if isinstance(stored, Failure):
            return stored
        if stored == digest:
            return None
        return registry_failure(
            Kind.DIGEST_MISMATCH, f"{ref} became {stored}, not {digest}", answer
        )

    async def _manifest(
        self, method: str, ref: ImageRef, name: str, login: Login
    ) -> Answer | Failure | None:
        """The manifest `name` (a tag or a digest); None for the registry's own 404."""
        request = _Request(
            registry=ref.registry,
            path=f"{ref.repository}/manifests/{name}",
            method=method,
            scope=f"repository:{ref.repository}:pull",
            headers={"accept": ", ".join(MANIFEST_TYPES)},
        )
        answer = await self._ask(request, login)
        if isinstance(answer, Failure):
            return answer
        if answer.status == HTTPStatus.NOT_FOUND and not answer.is_html:
            return None
        if answer.status != HTTPStatus.OK:
            return registry_refusal(answer)
        if _media_type(answer) not in MANIFEST_TYPES:
            return registry_failure(Kind.NOT_A_REGISTRY, "the answer is no manifest", answer)
        return answer

    async def _ask(self, request: _Request, login: Login) -> Answer | Failure:
        """Ask with the login itself, and with a token where the registry wants one."""
        if request.registry != login.registry:
            cause = f"the login is for {login.registry}, not for {request.registry}"
            return registry_failure(Kind.REGISTRY_AUTH, cause)
        answer = await self._send(request, basic(login))
        if isinstance(answer, Failure) or answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        challenge = bearer_challenge(answer)
        if challenge is None:
            return answer
        token = await self._token(challenge, request, login)
        return token if isinstance(token, Failure) else await self._send(request, token)

    async def _token(self, challenge: Bearer, request: _Request, login: Login) -> str | Failure:
        url = token_url(
            challenge, registry=request.registry, scope=request.scope, realms=self._realm_hosts
        )
        if url is None:
            return registry_failure(
                Kind.REALM_FOREIGN, f"the login is wanted at {challenge.realm!r}; not sent"
            )
        answer = await self._http.call("GET", url, headers={"authorization": basic(login)})
        if isinstance(answer, Trouble):
            return registry_trouble(answer)
        if answer.status != HTTPStatus.OK:
            return registry_refusal(answer)
        token = bearer(answer)
        return token or registry_failure(
            Kind.NOT_A_REGISTRY, "the token server sent no token", answer
        )

    async def _send(self, request: _Request, authorization: str) -> Answer | Failure:
        try:
            root = registry_root(request.registry)
        except InvalidNameError as error:
            return registry_failure(Kind.NOT_A_REGISTRY, str(error))
        answer = await self._http.call(
            request.method,
            f"{root}/v2/{request.path}",
            headers={"authorization": authorization, **request.headers},
            content=request.content,
            cap=MANIFEST_MAX,
        )
        return registry_trouble(answer) if isinstance(answer, Trouble) else answer


def registry_root(registry: str) -> str:
    """https, but http on this machine, as engines do. Raises InvalidNameError."""
    url = Url.parse(f"https://{registry}")
    if url.path or url.query is not None:
        raise InvalidNameError(f"{quoted(registry)} is not a registry host")
    return f"http://{registry}" if url.is_loopback else f"https://{registry}"


def _put(ref: ImageRef, manifest: Answer) -> _Request:
    return _Request(
        registry=ref.registry,
        path=f"{ref.repository}/manifests/{ref.tag}",
        method="PUT",
        scope=f"repository:{ref.repository}:pull,push",
        headers={"content-type": _media_type(manifest)},
        content=manifest.body,
    )


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _named_digest(answer: Answer) -> Digest | None:
    try:
        return parse_digest(answer.headers.get("docker-content-digest", ""))
    except InvalidNameError:
        return None


def _digest_of(manifest: Answer) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(manifest.body).hexdigest()}")
