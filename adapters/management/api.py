"""The Management API: a registry login, POST deploy, and the tenant's status."""

from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from deployer.adapters.http.answer import Answer, Trouble
from deployer.adapters.http.client import DEADLINE_SECONDS, Http
from deployer.adapters.http.url import ApiUrl, Url
from deployer.adapters.management.answers import (
    read_account,
    read_deployment,
    read_login,
    read_status,
)
from deployer.adapters.management.errors import (
    deploy_failure,
    deploy_kind,
    deploy_trouble,
    get_trouble,
    lacks_route,
)
from deployer.failures import Failure, Kind
from deployer.model import Deployment, Login, Secret, TenantStatus
from deployer.names import InvalidNameError, parse_tenant
from deployer.ports import Account
from deployer.states.flow import State

DEPLOY_SECONDS: Final = 120.0  # the server may wait for the machine before it answers


class Management:
    """Fits `ports.ManagementApi`. Repeats nothing: when to repeat is the catalogue's business."""

    def __init__(
        self,
        http: Http,
        *,
        api_url: ApiUrl,
        token: Secret,
        registry_hosts: Collection[str] = frozenset(),
        deploy_deadline: float = DEPLOY_SECONDS,
    ) -> None:
        """`api_url` as `parse_api_url` returns it; `registry_hosts` besides Fly's, `host[:port]`."""
        self._http = http
        self._api_url = api_url
        self._token = token
        self._registry_hosts = frozenset(registry_hosts)
        self._deploy_deadline = deploy_deadline
        # A server on another machine must not point the engine at this one.
        self._loopback = Url.parse(api_url).is_loopback

    async def account(self) -> Account | Failure:
        """GET auth/me. Safe to repeat."""
        answer = await self._send("GET", "/api/v1/auth/me")
        if isinstance(answer, Trouble):
            return get_trouble(State.AUTHENTICATING, answer)
        return read_account(answer)

    async def registry_login(self, tenant: str) -> Login | Failure:
        """GET registry-token. Safe to repeat."""
        if not _is_tenant(tenant):
            return _no_tenant(State.AUTHENTICATING, Kind.TENANT_UNKNOWN)
        answer = await self._call("GET", tenant, "/registry-token")
        if isinstance(answer, Trouble):
            return get_trouble(State.AUTHENTICATING, answer)
        return read_login(answer, self._registry_hosts, loopback=self._loopback)

    async def deploy(self, tenant: str, image: str, key: str) -> Deployment | Failure:
        """POST deploy once, with `key` as Idempotency-Key and the same bytes at each attempt."""
        if not _is_tenant(tenant):
            return _no_tenant(State.DEPLOYING, Kind.DEPLOY_NO_TENANT)
        answer = await self._call(
            "POST",
            tenant,
            "/deploy",
            headers={"content-type": "application/json", "idempotency-key": key},
            content=msgspec.json.encode({"image": image}),
            deadline_seconds=self._deploy_deadline,
        )
        if isinstance(answer, Trouble):
            return deploy_trouble(answer)
        if answer.is_success:
            return read_deployment(answer)
        kind = deploy_kind(answer) or await self._what_is_missing(tenant)
        return deploy_failure(kind, answer)

    async def status(self, tenant: str) -> TenantStatus | Failure | None:
        """GET status; None where the server has no such route."""
        if not _is_tenant(tenant):
            return _no_tenant(State.DEPLOYING, Kind.TENANT_UNKNOWN)
        answer = await self._call("GET", tenant, "/status")
        if isinstance(answer, Trouble):
            return get_trouble(State.DEPLOYING, answer)
        if lacks_route(answer):
            return None
        return read_status(answer)

    async def _what_is_missing(self, tenant: str) -> Kind:
        """Tell a 404 for the image from one for the tenant by looking whether the tenant exists."""
        for route in ("/status", ""):
            answer = await self._call("GET", tenant, route)
            if isinstance(answer, Trouble):
                return Kind.DEPLOY_INVALID
            if answer.is_success and isinstance(answer.json(), dict):
                return Kind.IMAGE_NOT_FOUND
            if answer.status != HTTPStatus.NOT_FOUND:
                return Kind.DEPLOY_INVALID
        return Kind.DEPLOY_NO_TENANT

    async def _call(
        self,
        method: str,
        tenant: str,
        route: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Answer | Trouble:
        return await self._send(
            method,
            f"/api/v1/tenants/{tenant}{route}",
            headers=headers,
            content=content,
            deadline_seconds=deadline_seconds,
        )

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> Answer | Trouble:
        return await self._http.call(
            method,
            f"{self._api_url}{path}",
            headers={"authorization": f"Bearer {self._token.reveal()}", **(headers or {})},
            content=content,
            deadline_seconds=deadline_seconds,
        )


def _is_tenant(tenant: str) -> bool:
    """Whether `tenant` may stand in a URL's path."""
    try:
        parse_tenant(tenant)
    except InvalidNameError:
        return False
    return True


def _no_tenant(phase: State, kind: Kind) -> Failure:
    return Failure(phase=phase, kind=kind, cause="this cannot be a tenant id; nothing was sent")
