"""The sandbox's own routes: switch faults, and see what happened."""

from dataclasses import dataclass

from aiohttp import web

from deployer.sandbox.faults import FAULTS, Faults, UnknownFaultError
from deployer.sandbox.ledger import Ledger
from deployer.sandbox.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Control:
    """What tests and curious users ask of a running sandbox."""

    faults: Faults
    ledger: Ledger
    traffic: Traffic

    def routes(self) -> list[web.RouteDef]:
        """The routes below `/__sandbox`."""
        return [
            web.get("/__sandbox/faults", self._listed),
            web.post("/__sandbox/faults", self._switch_on),
            web.delete("/__sandbox/faults", self._switch_off),
            web.get("/__sandbox/log", self._log),
            web.delete("/__sandbox/log", self._forget),
        ]

    async def _listed(self, _request: web.Request) -> web.Response:
        return web.json_response({"on": self.faults.on(), "known": dict(FAULTS)})

    async def _switch_on(self, request: web.Request) -> web.Response:
        try:
            order = await request.json()
            name, count = order["name"], order.get("count")
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refused('expected {"name": "push-401", "count": 1}')
        if not (count is None or (type(count) is int and count > 0)):
            return _refused("count is not a positive number")
        try:
            self.faults.switch_on(str(name), count)
        except UnknownFaultError as error:
            return _refused(str(error))
        return web.json_response({"on": self.faults.on()})

    async def _switch_off(self, request: web.Request) -> web.Response:
        self.faults.switch_off(request.query.get("name"))
        return web.json_response({"on": self.faults.on()})

    async def _log(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "deploys": self.ledger.rows,
                "requests": list(self.traffic.requests),
                "seen": self.traffic.seen,
                "uploaded": self.traffic.uploaded,
            }
        )

    async def _forget(self, _request: web.Request) -> web.Response:
        """Count anew. Deploys stay: they are the judge of exactly-once."""
        self.traffic.reset()
        return web.json_response({})


def stranger(traffic: Traffic) -> web.Application:
    """Where `registry-foreign-realm` points: a host that no login is meant for."""

    async def realm(request: web.Request) -> web.Response:
        arrived = "Authorization" in request.headers
        traffic.note("stranger", request.method, request.path, 401, login_arrived=arrived)
        return web.json_response({"errors": []}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", realm)
    return app


def _refused(message: str) -> web.Response:
    body = {"error": {"code": "invalid_request", "message": message}}
    return web.json_response(body, status=400)
