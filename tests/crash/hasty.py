"""The command line with little patience, so that a short pause outlasts each of its deadlines.

`python -m tests.crash.hasty deploy …`: the same command line before the same adapters, whose
deadlines are parameters of theirs.
"""

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

from deployer.adapters.cargo import watch
from deployer.adapters.cargo.toolchain import Cargo
from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.docker.engine import Docker, Patience
from deployer.adapters.http.answer import Answer, Trouble
from deployer.adapters.http.client import DEADLINE_SECONDS, Http
from deployer.adapters.http.exchange import BODY_MAX
from deployer.adapters.http.url import ApiUrl
from deployer.adapters.management.api import Management
from deployer.adapters.registry.client import Registry
from deployer.api import Deployer
from deployer.cli.main import invoke
from deployer.cli.program import Deploys, Program
from deployer.ports import Log
from deployer.settings.values import Settings
from deployer.wiring import wired

SECONDS: Final = 1.0  # of each deadline


class HastyHttp(Http):
    """Waits for no answer longer than that."""

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
        return await super().call(
            method,
            url,
            headers=headers,
            content=content,
            deadline_seconds=min(deadline_seconds, SECONDS),
            cap=cap,
        )


async def hasty(settings: Settings, logger: Log | None) -> AbstractAsyncContextManager[Deploys]:
    """The real adapters, in a hurry."""
    http = HastyHttp()
    patience = Patience(ping=SECONDS, build=SECONDS, push=SECONDS)
    adapters = replace(
        wired(settings),
        toolchain=Cargo(
            environment=settings.environment,
            database_url=settings.database_url,
            patience=watch.Patience(silent=SECONDS, sample=0.1),
        ),
        engine=Docker(context=BuildContext(), endpoint=settings.docker_host, patience=patience),
        api=Management(http, api_url=ApiUrl(settings.api_url), token=settings.api_token),
        registry=Registry(http),
    )
    return Deployer(adapters, logger=logger)


if __name__ == "__main__":
    outside = Program.of_process(json=False)
    sys.exit(invoke(sys.argv[1:], replace(outside, open_deployer=hasty)))
