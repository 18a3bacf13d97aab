"""`deploy --dry-run`: the preflight and the plan, without an effect."""

import anyio

from deployer.cli import document, logs, wording
from deployer.cli.interrupts import kept_handlers
from deployer.cli.program import Invocation
from deployer.cli.scrubbing import scrubber
from deployer.cli.target import Wanted
from deployer.cli.wording import Line
from deployer.failures import ExitCode
from deployer.preflight import Preflight
from deployer.run import DeployRequest
from deployer.settings.resolve import Loaded


def look(cli: Invocation, wanted: Wanted) -> int:
    """Show the plan; the exit code says whether a deploy could start."""
    found, request = wanted.found, wanted.request
    logs.quiet_libraries()
    with kept_handlers():
        seen = anyio.run(_preflight, cli, found, request)
    code = ExitCode.REFUSED if seen.failure else ExitCode.DONE
    database = found.project.database_from or (
        "none: the offline cache of sqlx" if found.settings.sqlx_offline else "none"
    )
    lines = (
        *wording.plan(seen, request.wait),
        *(() if request.skip_push else (Line(f"database {database}"),)),
        Line("nothing was changed"),
    )
    cli.answer(lambda: document.of_preflight(seen, code), lines)
    return code


async def _preflight(cli: Invocation, found: Loaded, request: DeployRequest) -> Preflight:
    program = cli.program
    logger = logs.logger(program.err, scrubber(program), cli.choices.verbose)
    async with await program.open_deployer(found.settings, logger) as deployer:
        return await deployer.preflight(request)
