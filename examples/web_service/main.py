"""A web service that deploys many tenants at once in one event loop.

    POST   /deploys/{tenant}   deploy, and stream the events as JSON lines; the last is the result
    POST   /resumes/{tenant}   go on with a cancelled or failed deploy, and stream it
    DELETE /deploys/{tenant}   cancel that tenant's deploy; the others go on

A client that hangs up does not cancel its deploy.

Usage: python main.py PROJECT PORT
The environment is the one that `deployer sandbox up` prints.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
from adapters.audit import Audit  # this service's own, not deployer's
from aiohttp import web

from deployer import BusyError, Deployer, DeployHandle, DeployRequest, Secret, Settings


class Service:
    """The routes, and the deploys under way."""

    def __init__(self, deployer: Deployer, project: Path) -> None:
        self._deployer = deployer
        self._project = project
        self._audit = Audit()
        # Several of a tenant: a second deploy has a handle until it is refused.
        self._running: dict[str, set[DeployHandle]] = {}

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/deploys/{tenant}", self.deploy),
                web.post("/resumes/{tenant}", self.resume),
                web.delete("/deploys/{tenant}", self.cancel),
            ]
        )
        return app

    async def deploy(self, request: web.Request) -> web.StreamResponse:
        """Deploy the project to a tenant."""
        tenant = request.match_info["tenant"]
        wish = DeployRequest(tenant=tenant, project_root=self._project)
        return await self._streamed(request, tenant, self._deployer.start(wish))

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """Go on with a tenant's last deploy."""
        tenant = request.match_info["tenant"]
        return await self._streamed(request, tenant, self._deployer.start_resume(tenant))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel a tenant's deploy."""
        handles = self._running.get(request.match_info["tenant"])
        if not handles:
            return web.Response(status=404, text="no deploy of this tenant is running\n")
        for handle in handles:
            handle.cancel()
        return web.Response(status=202, text="cancelling\n")

    async def _streamed(
        self,
        request: web.Request,
        tenant: str,
        started: AbstractAsyncContextManager[DeployHandle],
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await answer.prepare(request)
        try:
            async with started as handle:
                with self._cancellable(tenant, handle):
                    async for event in handle.events:
                        await _say(answer, self._audit.write(event))
                    result = await handle.result()
        except BusyError as error:
            await _say(answer, json.dumps({"busy": str(error)}))
            return answer
        end = {"state": "cancelled"} if result is None else {"state": result.state}
        if result is not None:
            end |= {"url": result.url, "failure": result.failure and result.failure.id}
        await _say(answer, json.dumps({"tenant": tenant, **end}))
        return answer

    @contextlib.contextmanager
    def _cancellable(self, tenant: str, handle: DeployHandle) -> Iterator[None]:
        handles = self._running.setdefault(tenant, set())
        handles.add(handle)
        try:
            yield
        finally:
            handles.remove(handle)


async def _say(answer: web.StreamResponse, line: str) -> None:
    """Send a line; a client that hung up misses it, and the deploy goes on."""
    with contextlib.suppress(ConnectionResetError):
        await answer.write(f"{line}\n".encode())


def settings() -> Settings:
    """The service's settings; deployer itself reads no environment."""
    return Settings(
        api_url=os.environ["SYSTEMPROMPT_API_URL"],
        api_token=Secret(os.environ["SYSTEMPROMPT_API_TOKEN"]),
        docker_host=os.environ.get("DOCKER_HOST"),
        database_url=Secret(os.environ.get("DATABASE_URL", "postgres://localhost/app")),
        state_dir=Path(os.environ.get("STATE_DIR", "state")),
        environment=os.environ,
    )


async def main(project: Path, port: int) -> None:
    """Serve until the process is told to stop; what is running then can be resumed."""
    async with Deployer.from_settings(settings()) as deployer:
        runner = web.AppRunner(Service(deployer, project).app())
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            print(f"serving on http://127.0.0.1:{port}", flush=True)
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]).absolute(), int(sys.argv[2]))
