"""A raw server and the adapter of ours that asks it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployer.adapters.http.client import Http
from deployer.adapters.http.url import ApiUrl
from deployer.adapters.management.api import Management
from deployer.adapters.registry.client import Registry
from deployer.model import Login, Secret
from tests.servers.raw_http import RawServer, Respond, Step, answer, raw_server


@asynccontextmanager
async def management(
    respond: Respond | Step,
    *,
    token: str = "API",
    hosts: frozenset[str] = frozenset(),
    deploy_deadline: float = 30.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[tuple[Management, RawServer]]:
    """The Management API's adapter and what answers it."""
    async with raw_server(respond, tls=tls) as server, Http() as http:
        adapter = Management(
            http,
            api_url=ApiUrl(server.url),
            token=Secret(token),
            registry_hosts=hosts,
            deploy_deadline=deploy_deadline,
        )
        yield adapter, server


@asynccontextmanager
async def registry(respond: Respond | Step) -> AsyncIterator[tuple[Registry, RawServer]]:
    """The registry's adapter and what answers it."""
    async with raw_server(respond) as server, Http() as http:
        yield Registry(http), server


def login_at(host: str) -> Login:
    """A login for the registry at `host[:port]`."""
    return Login(registry=host, username="x", password=Secret("REGSECRET"))


def error(status: int, code: str, message: str = "as it says", **headers: str) -> bytes:
    """The Management API's own kind of refusal."""
    return answer(status, {"error": {"code": code, "message": message}}, **headers)
