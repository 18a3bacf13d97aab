"""`deployer resume`: go on where a run stopped."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.choices import lock_option, target_options
from deployer.cli.program import Invocation, invocation

if TYPE_CHECKING:
    from deployer.cli.program import Deploys
    from deployer.cli.running import OnEvent
    from deployer.result import DeployResult
    from deployer.settings.values import Flags


@click.command()
@target_options
@lock_option
@click.argument("run", required=False)
@click.pass_context
def resume(ctx: click.Context, /, run: str | None, **chosen: Any) -> int:
    """Go on with RUN, or with the tenant's newest, from the state in which it stopped."""
    from deployer.cli import target  # noqa: PLC0415  # late: the help page does not need it
    from deployer.cli.running import carry  # noqa: PLC0415
    from deployer.run import OnLock  # noqa: PLC0415

    cli = invocation(ctx)
    flags = target.flags_of(chosen)
    found = target.resolved(cli, flags if run is None else of_run(cli, run, flags))
    if isinstance(found, int):
        return found
    target.introduce(cli, found)
    tenant, on_lock = found.project.tenant, OnLock(chosen["on_lock"])

    async def work(deployer: "Deploys", on_event: "OnEvent") -> "DeployResult":
        return await deployer.resume(
            tenant, run, on_lock=on_lock, on_event=on_event, acknowledge=False
        )

    return carry(cli, found.settings, tenant, work)


def of_run(cli: Invocation, run: str, flags: "Flags") -> "Flags":
    """`flags`, with the run's own tenant and profile where none is given."""
    from deployer.cli.stored import find_run  # noqa: PLC0415

    request = find_run(cli, run).run.plan.request
    if flags.tenant not in (None, request.tenant):
        raise click.UsageError(f"run {run} is of tenant {request.tenant}, not of {flags.tenant}")
    return replace(flags, tenant=request.tenant, profile=flags.profile or request.profile)
