"""The Management API over HTTP, in both of its generations."""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from aiohttp import web

from deployer.sandbox.deploys import Deployment, Deploys, Problem
from deployer.sandbox.faults import Faults
from deployer.sandbox.keys import Keys, Reserved
from deployer.sandbox.logins import Logins
from deployer.sandbox.loopback import dribbled, halved, hang_up
from deployer.sandbox.options import TENANTS, Contract, Options, Tenant
from deployer.sandbox.traffic import Traffic

WAIT_SECONDS: Final = 5.0  # for the machine, before POST answers `deploying`
_PAGE: Final = "<html><body><h1>{title}</h1></body></html>"
_Route = Callable[[web.Request, Tenant], Awaitable[web.StreamResponse]]

_TOKEN_REFUSALS: Final = {
    "token-401": Problem(401, "unauthorized", "the API token is not valid"),
    "token-403": Problem(403, "forbidden", "the tenant belongs to someone else"),
    "token-404": Problem(404, "tenant_not_found", "there is no such tenant"),
    "token-503": Problem(
        503, "service_unavailable", "the registry service is not available", {"Retry-After": "1"}
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The API's routes."""

    options: Options
    token: str  # the only API token that is valid
    urls: Mapping[str, str]  # the tenants' public URLs
    deploys: Deploys
    logins: Logins
    faults: Faults
    traffic: Traffic
    keys: Keys = field(default_factory=Keys)

    def routes(self) -> list[web.RouteDef]:
        """The routes, without the sandbox's own."""
        base = "/api/v1/tenants/{tenant}"
        return [
            web.get("/api/v1/auth/me", self._me),
            web.get(base, self._guarded(self._tenant)),
            web.get(f"{base}/status", self._guarded(self._status)),
            web.get(f"{base}/registry-token", self._guarded(self._registry_token)),
            web.post(f"{base}/deploy", self._guarded(self._deploy)),
        ]

    @web.middleware
    async def counted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note each request; a path without a route gets the API's own kind of error."""
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            code = error.reason.lower().replace(" ", "_")
            answer = _error(Problem(error.status, code, f"{request.path}: {error.reason}"))
        if not request.path.startswith("/__sandbox"):
            key = request.headers.get("Idempotency-Key")
            self.traffic.note("api", request.method, request.path, answer.status, key=key)
        return answer

    def _guarded(self, route: _Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            if not self._signed_in(request):
                return _error(Problem(401, "unauthorized", "the API token is not valid"))
            tenant = _tenant(request.match_info["tenant"])
            if tenant is None:
                return _error(Problem(404, "tenant_not_found", "there is no such tenant"))
            return await route(request, tenant)

        return serve

    def _signed_in(self, request: web.Request) -> bool:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and secrets.compare_digest(token.encode(), self.token.encode())

    async def _me(self, request: web.Request) -> web.StreamResponse:
        if not self._signed_in(request):
            return _error(Problem(401, "unauthorized", "the API token is not valid"))
        user = {"id": "user-1", "email": "you@example.com", "name": "Sandbox User"}
        # Not in an envelope on any contract.
        return web.json_response({"user": user, "tenants": [*map(self._described, TENANTS)]})

    async def _tenant(self, _request: web.Request, tenant: Tenant) -> web.StreamResponse:
        return self._answer(self._described(tenant))

    def _described(self, tenant: Tenant) -> dict[str, Any]:
        url = self.urls[tenant.id]
        return {
            "id": tenant.id,
            "name": tenant.id,
            "app_id": tenant.app,
            "hostname": url.removeprefix("http://"),
            "status": "active",
        }

    async def _status(self, _request: web.Request, tenant: Tenant) -> web.StreamResponse:
        if self.faults.strikes("status-404"):
            return _error(Problem(404, "not_found", "no route status"))
        latest = await self.deploys.latest(tenant)
        word = latest.status if latest else "awaiting_deploy"
        if self.faults.strikes("status-pending-forever"):
            word = "deploying"
        answer = {"status": word, "app_url": self.urls[tenant.id], **self._capabilities()}
        if latest and latest.message:
            answer["message"] = latest.message
        if latest and not self.faults.strikes("bare-status"):
            answer |= {"image": latest.image, "deploy_id": latest.id}
        return self._answer(answer)

    def _capabilities(self) -> dict[str, Any]:
        return {} if self.faults.is_on("ignore-keys") else {"capabilities": ["idempotency-key"]}

    async def _registry_token(self, _request: web.Request, tenant: Tenant) -> web.StreamResponse:
        for name, refusal in _TOKEN_REFUSALS.items():
            if self.faults.strikes(name):
                return _error(refusal)
        if self.faults.strikes("token-html"):
            return _page("Please sign in to the network", status=200)
        repository, tag = self.deploys.repository(tenant), self.deploys.tag(tenant)
        if tag and self.faults.strikes("wrong-tag"):
            tag += "-old"
        password = self.logins.mint(repository, tag)
        login = {"registry": self.deploys.registry, "username": "x", "repository": repository}
        login |= {"token": password, "tag": tag} if tag else {"password": password}
        return self._answer({**login, **self._capabilities()})

    async def _deploy(self, request: web.Request, tenant: Tenant) -> web.StreamResponse:
        if self.faults.strikes("deploy-refused-before"):
            return hang_up(request)
        if self.faults.strikes("deploy-500"):
            return _error(Problem(500, "internal", "something went wrong"))
        if self.faults.strikes("deploy-html"):
            return _page("502 Bad Gateway", status=502)
        body = await request.read()
        key = request.headers.get("Idempotency-Key")
        if key is None or self.faults.is_on("ignore-keys"):
            return await self._broken(request, await self._decide(tenant, body, key))
        return await self._once(request, tenant, body, key)

    async def _once(
        self, request: web.Request, tenant: Tenant, body: bytes, key: str
    ) -> web.StreamResponse:
        """Work at most once for this key."""
        match self.keys.reserve(tenant.id, key, body):
            case Reserved.IN_PROGRESS:
                message = "the same key is being worked on"
                wait = {"Retry-After": "1"}
                return _error(Problem(409, "idempotency_in_progress", message, wait))
            case Reserved.OTHER_BODY:
                message = "the key was used with another body"
                return _error(Problem(422, "idempotency_mismatch", message))
            case Reserved.NEW:
                answer = await self._decide(tenant, body, key)
                if isinstance(answer, Problem):
                    self.keys.release(tenant.id, key)
                else:
                    self.keys.store(tenant.id, key, answer)
                return await self._broken(request, answer)
            case stored:
                return self._answer(stored, {"Idempotent-Replayed": "true"})

    async def _decide(
        self, tenant: Tenant, body: bytes, key: str | None
    ) -> dict[str, Any] | Problem:
        """Do what a POST asks for, and say how it went."""
        image = _image(body)
        if image is None:
            return Problem(400, "invalid_request", 'expected {"image": "registry/repository:tag"}')
        if self.faults.strikes("deploy-status-failed"):
            return self._outcome(tenant, "failed")
        deployment = await self.deploys.accept(tenant, image, key)
        if isinstance(deployment, Problem):
            return deployment
        if not self.options.answer_at_once:
            with anyio.move_on_after(self.options.work_seconds + WAIT_SECONDS):
                await deployment.settled.wait()
        return self._told(deployment)

    def _told(self, deployment: Deployment) -> dict[str, Any] | Problem:
        if deployment.status == "failed":
            return Problem(500, "machine_update_failed", deployment.message or "no reason given")
        word = "deployed" if deployment.status == "running" else "deploying"
        return self._outcome(deployment.tenant, word)

    def _outcome(self, tenant: Tenant, word: str) -> dict[str, Any]:
        field_name = "url" if self.options.contract is Contract.OWN_TAG else "app_url"
        return {"status": word, field_name: self.urls[tenant.id]}

    async def _broken(
        self, request: web.Request, answer: dict[str, Any] | Problem
    ) -> web.StreamResponse:
        """Send the answer, unless a fault breaks it: the work is done by now."""
        if self.faults.strikes("deploy-lost-answer"):
            return hang_up(request, reset=True)
        whole = _error(answer) if isinstance(answer, Problem) else self._answer(answer)
        if self.faults.strikes("deploy-truncated"):
            return halved(whole)
        if self.faults.strikes("deploy-slow"):
            return await dribbled(request, whole)
        return whole

    def _answer(
        self, payload: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> web.Response:
        if self.options.contract is Contract.SERVER_TAG:
            payload = {"data": payload, "meta": {"request_id": secrets.token_hex(8)}}
        return web.json_response(payload, headers=headers)


def _tenant(name: str) -> Tenant | None:
    return next((tenant for tenant in TENANTS if tenant.id == name), None)


def _image(body: bytes) -> str | None:
    try:
        image = json.loads(body)["image"]
    except (ValueError, KeyError, TypeError):
        return None
    return image if isinstance(image, str) else None


def _error(problem: Problem) -> web.Response:
    body = {"error": {"code": problem.code, "message": problem.message}}
    return web.json_response(body, status=problem.http_status, headers=problem.headers)


def _page(title: str, status: int) -> web.Response:
    return web.Response(text=_PAGE.format(title=title), status=status, content_type="text/html")
