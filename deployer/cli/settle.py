"""`deployer settle`: a person's word on a POST deploy that got no answer."""

from typing import TYPE_CHECKING, Any

import click

from deployer.cli.choices import target_options
from deployer.cli.options import option
from deployer.cli.program import Invocation, invocation

if TYPE_CHECKING:
    from deployer.run import Settlement
    from deployer.settings.resolve import Loaded


@click.command()
@target_options
@click.argument("run")
@option(
    "--as",
    "settlement",
    type=click.Choice(["deployed", "not-deployed"]),
    required=True,
    help="What you found: at Fly.io, in the server's log, or by looking at the app.",
)
@click.pass_context
def settle(ctx: click.Context, /, run: str, settlement: str, **chosen: Any) -> int:
    """Record in the journal what became of RUN's POST deploy; `resume` then goes on from there."""
    import anyio  # noqa: PLC0415  # late, here and below: the help page does not need it

    from deployer.cli import target  # noqa: PLC0415
    from deployer.cli.interrupts import kept_handlers  # noqa: PLC0415
    from deployer.cli.resume import of_run  # noqa: PLC0415
    from deployer.run import Settlement  # noqa: PLC0415

    cli = invocation(ctx)
    found = target.resolved(cli, of_run(cli, run, target.flags_of(chosen)))
    if isinstance(found, int):
        return found
    with kept_handlers():
        return anyio.run(_settle, cli, found, run, Settlement(settlement))


async def _settle(cli: Invocation, found: "Loaded", run_id: str, settlement: "Settlement") -> int:
    from deployer.cli import document, report  # noqa: PLC0415
    from deployer.cli.closing import close  # noqa: PLC0415
    from deployer.cli.stored import find_run  # noqa: PLC0415
    from deployer.cli.wording import settled  # noqa: PLC0415
    from deployer.errors import BusyError, JournalError, SupersededError  # noqa: PLC0415
    from deployer.failures import ExitCode, Failure, exit_code  # noqa: PLC0415

    tenant = found.project.tenant
    try:
        async with await cli.program.open_deployer(found.settings, None) as deployer:
            run = await deployer.settle(tenant, run_id, settlement)
    except (BusyError, SupersededError, JournalError) as error:
        return close(cli.program, report.of_error(error, tenant, run_id))
    if isinstance(run, Failure):
        refused = report.Report(exit_code=exit_code(run), tenant=tenant, failure=run)
        return close(cli.program, refused)
    record = find_run(cli, run_id)
    cli.answer(
        lambda: {"exit_code": ExitCode.DONE, **document.of_record(record)},
        settled(run_id, settlement, report.resume_command(record)),
    )
    return ExitCode.DONE
