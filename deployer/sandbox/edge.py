"""A tenant's public URL: one fixed port that leads to whatever container runs."""

from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web

from deployer.sandbox.faults import Faults
from deployer.sandbox.loopback import HOST
from deployer.sandbox.machine import Machine
from deployer.sandbox.paper_machine import PaperMachine

_HEALTH: Final = ("/health", "/api/v1/health")
_OF_ONE_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})


@dataclass(frozen=True, slots=True)
class Edge:
    """A proxy before the machine's container."""

    machine: Machine | PaperMachine
    faults: Faults
    session: aiohttp.ClientSession

    def app(self) -> web.Application:
        """The edge as an application."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        if request.path in _HEALTH and self.faults.strikes("health-503"):
            return web.json_response({"status": "unhealthy"}, status=503)
        if isinstance(self.machine, PaperMachine):
            return self.machine.answer(request.path)
        port = self.machine.port
        if port is None:
            return _error("no machine runs for this app")
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _OF_ONE_HOP}
        url = f"http://{HOST}:{port}{request.rel_url.raw_path_qs}"
        try:
            async with self.session.request(
                request.method, url, headers=headers, data=await request.read()
            ) as answer:
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in _OF_ONE_HOP}
                body = await answer.read()
                return web.Response(status=answer.status, headers=kept, body=body)
        except aiohttp.ClientError:
            return _error("the machine does not answer")


def _error(message: str) -> web.Response:
    return web.json_response({"error": {"code": "bad_gateway", "message": message}}, status=502)
