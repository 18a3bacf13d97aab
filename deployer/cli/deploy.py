"""`deployer deploy`: the whole way, or a look at it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.choices import TAG, lock_option, proof_options, target_options
from deployer.cli.options import option
from deployer.cli.program import Invocation, invocation

if TYPE_CHECKING:
    from deployer.cli.program import Deploys
    from deployer.cli.running import OnEvent
    from deployer.result import DeployResult
    from deployer.run import DeployRequest
    from deployer.settings.values import Settings


@click.command()
@target_options
@option("--tag", type=TAG, help="Image tag; default: deploy-TIME-COMMIT.")
@option(
    "--skip-push", is_flag=True, help="Deploy an image that the registry has: --tag, else the last."
)
@option(
    "--dockerfile",
    type=click.Path(path_type=Path),
    help="Inside the project; default .systemprompt/Dockerfile.",
)
@option(
    "--builder",
    type=click.Choice(["auto", "engine", "direct"]),
    help="Who makes the image; auto: the engine, or deployer itself where none answers.",
)
@option("--no-cache", is_flag=True, help="Read each source anew, however unchanged it looks.")
@proof_options
@lock_option
@option("--new", is_flag=True, help="Deploy although an equal run has just finished.")
@option("--dry-run", is_flag=True, help="Check everything and show the plan; change nothing.")
@click.pass_context
def deploy(ctx: click.Context, /, **chosen: Any) -> int:
    """Compile, build the image, push it, have it run, and prove that it runs."""
    # Late, here and below: the help page needs neither the files nor the event loop.
    from deployer.cli import target  # noqa: PLC0415

    cli = invocation(ctx)
    wanted = target.wanted(cli, chosen)
    if isinstance(wanted, int):
        return wanted
    if chosen["dry_run"]:
        from deployer.cli.looking import look  # noqa: PLC0415

        return look(cli, wanted)
    target.introduce(cli, wanted.found)
    return _deploy(cli, wanted.found.settings, wanted.request, chosen["on_lock"])


def _deploy(cli: Invocation, settings: "Settings", request: "DeployRequest", on_lock: str) -> int:
    from deployer.cli.running import carry  # noqa: PLC0415
    from deployer.run import OnLock  # noqa: PLC0415

    async def work(deployer: "Deploys", on_event: "OnEvent") -> "DeployResult":
        return await deployer.deploy(
            request, on_lock=OnLock(on_lock), on_event=on_event, acknowledge=False
        )

    return carry(cli, settings, request.tenant, work)
