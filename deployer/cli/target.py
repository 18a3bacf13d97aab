"""What the chosen options resolve to: settings, a project, a request; or a refusal that is shown."""

import os
from dataclasses import dataclass, replace
from typing import Any

from deployer.adapters.text import clean, decode
from deployer.cli.closing import close
from deployer.cli.output import Style
from deployer.cli.program import Invocation
from deployer.cli.report import of_refusals
from deployer.cli.wording import Line
from deployer.names import InvalidNameError
from deployer.run import BuilderWish, DeployRequest
from deployer.settings.project import tenants_path
from deployer.settings.resolve import Loaded, Project, load
from deployer.settings.values import Flags, Refusal


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, and the settings to carry it out with."""

    found: Loaded
    request: DeployRequest


def wanted(cli: Invocation, chosen: dict[str, Any]) -> Wanted | int:
    """What the chosen options ask for; or the exit code, when it was refused and that was shown."""
    found = resolved(cli, flags_of(chosen))
    if isinstance(found, int):
        return found
    request = request_of(found.project, chosen)
    return refuse(cli, (request,)) if isinstance(request, Refusal) else Wanted(found, request)


def resolved(cli: Invocation, flags: Flags) -> Loaded | int:
    """Settings and project; or the exit code, when they were refused and that was shown."""
    found = load(
        replace(flags, state_dir=flags.state_dir or cli.choices.state_dir),
        cli.program.environ,
        cli.directory,
        cli.program.wall(),
    )
    if not isinstance(found, Loaded):
        return refuse(cli, found)
    cli.program.secrets.extend(found.settings.secrets())
    cli.warn(found.project.warnings)
    return found


def refuse(cli: Invocation, refusals: tuple[Refusal, ...]) -> int:
    """Show why nothing is started; return the exit code."""
    return close(cli.program, of_refusals(refusals))


def flags_of(chosen: dict[str, Any]) -> Flags:
    """The chosen options as the resolver takes them."""
    return Flags(
        tenant=chosen["tenant"],
        profile=chosen["profile"],
        dockerfile=chosen.get("dockerfile"),
        wait=not chosen.get("no_wait"),
        wait_timeout=chosen.get("wait_timeout"),
        stability=chosen.get("stability"),
        ca_file=chosen["ca_file"],
        registry_hosts=chosen["registry_host"],
        builder=BuilderWish(chosen["builder"]) if chosen.get("builder") else None,
        no_cache=chosen.get("no_cache", False),
    )


def request_of(project: Project, chosen: dict[str, Any]) -> DeployRequest | Refusal:
    """What the library is asked for."""
    try:
        return DeployRequest(
            tenant=project.tenant,
            project_root=project.root,
            app=project.app,
            foreign_apps=project.foreign_apps,
            hostname=project.hostname,
            dockerfile=project.dockerfile,
            builder=project.builder,
            tag=chosen.get("tag"),
            skip_push=chosen.get("skip_push", False),
            profile=project.profile,
            message=_as_text(chosen.get("message")),
            wait=project.wait,
            new=chosen.get("new", False),
        )
    except InvalidNameError as error:  # the app id: the others have been parsed
        where = f"{tenants_path(project.root)}, key app_id of {project.tenant}"
        return Refusal(what=str(error), where=where, remedy="log in again, or correct it")


def _as_text(message: str | None) -> str | None:
    """`message` with replacement characters for what is no UTF-8: the journal keeps text."""
    return None if message is None else decode(os.fsencode(message))


def introduce(cli: Invocation, found: Loaded) -> None:
    """Say what is about to be done, before it is."""
    if cli.choices.quiet:
        return
    project, settings = found.project, found.settings
    name = f" ({project.tenant_name})" if project.tenant_name else ""
    profile = f" · profile {project.profile}" if project.profile else ""
    # The name is the server's, and a profile may be a path.
    words = clean(f"deployer · tenant {project.tenant}{name}{profile} · {settings.api_url}")
    cli.say([Line(words, Style.DIM)])
