"""`deployer rollback`: an earlier image again, without building anything."""

from typing import TYPE_CHECKING, Any

import click

from deployer.cli.choices import lock_option, proof_options, target_options
from deployer.cli.options import option
from deployer.cli.program import Invocation, invocation

if TYPE_CHECKING:
    from deployer.cli.program import Deploys
    from deployer.cli.running import OnEvent
    from deployer.cli.target import Wanted
    from deployer.result import DeployResult


@click.command()
@target_options
@option(
    "--to", metavar="RUN|TAG", help="Which image; default: the last good one before the present."
)
@proof_options
@lock_option
@option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.pass_context
def rollback(ctx: click.Context, /, **chosen: Any) -> int:
    """Run the image of an earlier deploy again, by its digest."""
    from deployer.cli import target  # noqa: PLC0415  # late: the help page does not need it
    from deployer.failures import ExitCode  # noqa: PLC0415

    cli = invocation(ctx)
    wanted = target.wanted(cli, chosen)
    if isinstance(wanted, int):
        return wanted
    if not chosen["yes"] and not _agreed(cli, wanted.request.tenant, chosen["to"]):
        return ExitCode.REFUSED
    target.introduce(cli, wanted.found)
    return _rollback(cli, wanted, chosen["to"], chosen["on_lock"])


def _rollback(cli: Invocation, wanted: "Wanted", to: str | None, on_lock: str) -> int:
    from deployer.cli.running import carry  # noqa: PLC0415
    from deployer.run import OnLock  # noqa: PLC0415

    async def work(deployer: "Deploys", on_event: "OnEvent") -> "DeployResult":
        request = wanted.request
        return await deployer.rollback(
            request, to=to, on_lock=OnLock(on_lock), on_event=on_event, acknowledge=False
        )

    return carry(cli, wanted.found.settings, wanted.request.tenant, work)


def _agreed(cli: Invocation, tenant: str, to: str | None) -> bool:
    """Ask. Where nobody can be asked, --yes has to be given: a script must mean it."""
    if not cli.program.interactive or cli.program.json:
        raise click.UsageError("nobody can be asked here: pass --yes")
    what = to or "the last good image before the present one"
    return click.confirm(f"Roll tenant {tenant} back to {what}?", err=True)
