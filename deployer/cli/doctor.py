"""`deployer doctor`: all checks at once, with their remedies, also where settings are refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.choices import target_options
from deployer.cli.options import option
from deployer.cli.program import Invocation, invocation

if TYPE_CHECKING:
    from deployer.doctor.finding import Finding
    from deployer.preflight import Preflight
    from deployer.run import DeployRequest
    from deployer.settings.resolve import Survey
    from deployer.settings.values import Settings


@click.command()
@target_options
@option(
    "--dockerfile",
    type=click.Path(path_type=Path),
    help="Inside the project; default .systemprompt/Dockerfile.",
)
@click.pass_context
def doctor(ctx: click.Context, /, **chosen: Any) -> int:
    """Check tools, engine, disks, files, login, registry and journal. Changes nothing."""
    from deployer.cli import document, logs, wording  # noqa: PLC0415
    from deployer.cli.target import flags_of  # noqa: PLC0415
    from deployer.failures import ExitCode  # noqa: PLC0415
    from deployer.settings.resolve import survey  # noqa: PLC0415

    cli = invocation(ctx)
    flags = flags_of(chosen)
    flags = replace(flags, state_dir=flags.state_dir or cli.choices.state_dir)
    found = survey(flags, cli.program.environ, cli.directory, cli.program.wall())
    logs.quiet_libraries()
    seen = (*_of_settings(found), *_of_the_rest(cli, found))
    code = ExitCode.DONE if all(each.ok for each in seen) else ExitCode.REFUSED
    lines = (*wording.findings(seen), wording.verdict(seen))
    cli.answer(lambda: document.of_doctor(seen, code), lines)
    return code


def _of_settings(found: "Survey") -> "Iterator[Finding]":
    from deployer.doctor.finding import failed  # noqa: PLC0415
    from deployer.doctor.settings import of_files  # noqa: PLC0415

    yield from (failed("settings", refusal.failure) for refusal in found.refusals)
    yield from of_files(found)


def _of_the_rest(cli: Invocation, found: "Survey") -> "tuple[Finding, ...]":
    """What the library finds; without a login and a tenant, what needs neither."""
    import anyio  # noqa: PLC0415

    from deployer.cli.interrupts import kept_handlers  # noqa: PLC0415
    from deployer.doctor.finding import Finding  # noqa: PLC0415
    from deployer.settings.resolve import partial  # noqa: PLC0415

    known = partial(found)
    if known is None:
        return ()
    settings, request = known
    cli.program.secrets.extend(settings.secrets())
    api = found.access is not None and found.target is not None
    with kept_handlers():
        seen = anyio.run(_look, cli, settings, request, api)
    if api:
        return seen.checks
    text = "not asked: there is no login or no tenant to ask with"
    return (*seen.checks, Finding(name="Management API", text=text, skipped=True))


async def _look(
    cli: Invocation, settings: "Settings", request: "DeployRequest", api: bool
) -> "Preflight":
    from deployer.cli import logs  # noqa: PLC0415
    from deployer.cli.scrubbing import scrubber  # noqa: PLC0415

    program = cli.program
    logger = logs.logger(program.err, scrubber(program), cli.choices.verbose)
    async with await program.open_deployer(settings, logger) as deployer:
        return await deployer.doctor(request, api=api)
