"""The command line's `sandbox` group. What it needs is imported when a command runs."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import click

from deployer.sandbox.options import BASE_PORT, Contract, Options
from deployer.sandbox.places import cache_root

if TYPE_CHECKING:
    from deployer.sandbox.up import Sandbox

REFUSED: Final = 3


class Caller(Protocol):
    """The command line that this group is a part of; alone, it has none."""

    json: bool  # stdout is for one document

    def document(self, document: Mapping[str, object]) -> None:
        """Write that document."""


@click.group()
def group() -> None:
    """Try deploys on this machine: Management API, registry and Fly machine on loopback."""


@group.command()
@click.option("--contract", type=click.Choice(["own-tag", "server-tag"]), default="own-tag")
@click.option("--fault", "faults", multiple=True, metavar="NAME[:COUNT]", help="Switch a fault on.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where it keeps its data.")
@click.option("--workspace", type=click.Path(path_type=Path), help="Also write the sample project.")
@click.option("--env-file", type=click.Path(path_type=Path), help="Also write the environment.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_531),
    default=BASE_PORT,
    show_default=True,
    help="First of 6; 0: any free ones.",
)
@click.option(
    "--work-seconds",
    type=click.FloatRange(0),
    default=0.0,
    help="How long the server works on a deploy.",
)
@click.option(
    "--login-seconds",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="Life of a registry login.",
)
@click.option("--async-deploy", is_flag=True, help="POST deploy answers before the work is done.")
@click.option("--no-engine", is_flag=True, help="Check images instead of running them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def up(  # noqa: PLR0913  # one parameter an option
    caller: Caller | None,
    *,
    contract: str,
    faults: tuple[str, ...],
    folder: Path | None,
    workspace: Path | None,
    env_file: Path | None,
    port: int,
    work_seconds: float,
    login_seconds: float,
    async_deploy: bool,
    no_engine: bool,
    as_json: bool,
) -> None:
    """Serve a sandbox until Ctrl-C. Prints the environment that a deploy into it needs."""
    from deployer.sandbox.faults import parse_fault  # noqa: PLC0415  # loads anyio

    cache = cache_root(os.environ)
    try:
        on = dict(map(parse_fault, faults))
    except (LookupError, ValueError) as error:
        raise click.UsageError(str(error.args[0])) from error
    options = Options(
        cache=cache,
        folder=(folder or cache / "up").absolute(),
        environ=dict(os.environ),
        contract=Contract(contract),
        base_port=port,
        faults=on,
        work_seconds=work_seconds,
        login_seconds=login_seconds,
        answer_at_once=async_deploy,
        no_engine=no_engine,
    )
    tell = _teller(caller, as_json=as_json)
    announce = partial(_announce, env_file=env_file, tell=tell)
    _run(partial(_serve, options, workspace, announce), interrupted=0)


@group.command()
def faults() -> None:
    """List the faults that `up --fault` and the control API can switch on."""
    from deployer.sandbox.faults import FAULTS  # noqa: PLC0415

    width = max(map(len, FAULTS))
    for name, meaning in FAULTS.items():
        click.echo(f"{name:<{width}}  {meaning}")


@group.command()
@click.option("--keep", is_flag=True, help="Keep the sample project and say where it is.")
@click.option("--no-engine", is_flag=True, help="Check images instead of running them.")
def demo(*, keep: bool, no_engine: bool) -> None:
    """Deploy, change, deploy again and roll back, for real, on this machine."""
    from deployer.sandbox.demo import play  # noqa: PLC0415

    _run(partial(play, dict(os.environ), click.echo, keep=keep, no_engine=no_engine))


async def _serve(
    options: Options, workspace: Path | None, announce: Callable[["Sandbox"], None]
) -> int:
    import anyio  # noqa: PLC0415  # the group itself loads click only

    from deployer.sandbox.up import sandbox  # noqa: PLC0415
    from deployer.sandbox.workspace import write_workspace  # noqa: PLC0415

    async with sandbox(options, _say) as running:
        if workspace is not None:
            await write_workspace(workspace, running, options.environ)
            _say(f"Wrote the sample project to {workspace}")
        announce(running)
        _say("Serving until Ctrl-C")
        await anyio.sleep_forever()
    return 0


def _say(line: str) -> None:
    click.echo(line, err=True)


def _teller(caller: Caller | None, *, as_json: bool) -> "Callable[[Sandbox, str], None]":
    """How a sandbox that serves is told on stdout, at once."""

    def tell(running: "Sandbox", exports: str) -> None:
        if caller is not None and caller.json:
            caller.document(running.described())
        else:
            click.echo(json.dumps(running.described()) if as_json else exports.rstrip())

    return tell


def _announce(
    running: "Sandbox", *, env_file: Path | None, tell: "Callable[[Sandbox, str], None]"
) -> None:
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in running.environment().items()
    )
    if env_file is not None:
        _write(env_file, exports)
    tell(running, exports)


def _write(env_file: Path, exports: str) -> None:
    from deployer.sandbox.refusal import Refused  # noqa: PLC0415

    try:
        # The API token is in it.
        env_file.touch(mode=0o600)
        env_file.chmod(0o600)
        env_file.write_text(exports)
    except OSError as error:
        cause = f"{env_file} cannot be written: {error.strerror}."
        raise Refused(f"{cause} Name another place by --env-file.") from error


def _run(work: Callable[[], Awaitable[int]], *, interrupted: int | None = None) -> None:
    """Run `work` to its end or a signal's; `interrupted` is the exit code then (None: usual)."""
    import anyio  # noqa: PLC0415

    sys.exit(anyio.run(_until_signal, work, interrupted))


async def _until_signal(work: Callable[[], Awaitable[int]], interrupted: int | None) -> int:
    import anyio  # noqa: PLC0415

    from deployer.sandbox.refusal import Refused  # noqa: PLC0415

    code, scope = 0, anyio.CancelScope()

    async def watch() -> None:
        nonlocal code
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        with anyio.open_signal_receiver(*signals) as received:
            # Heard to the end: `timeout` and terminals send the same signal twice, and the
            # second one must not cut the clean-up, which is short anyway.
            async for number in received:
                code = 128 + number if interrupted is None else interrupted
                scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            with scope:
                code = await work()
        except Refused as refusal:
            _say(str(refusal))
            code = REFUSED
        tasks.cancel_scope.cancel()
    return code
