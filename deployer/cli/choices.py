"""The options that several commands share: who is deployed to, and what counts as deployed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from deployer.cli.options import Parsed, option

F = TypeVar("F", bound=Callable[..., Any])

# The parsers are imported when there is something to parse: a help page needs none.


def _tenant(text: str) -> str:
    from deployer.names import parse_tenant  # noqa: PLC0415

    return parse_tenant(text)


def _tag(text: str) -> str:
    from deployer.names import parse_tag  # noqa: PLC0415

    return parse_tag(text)


def _duration(text: str) -> float:
    from deployer.settings.config_file import parse_duration  # noqa: PLC0415

    return parse_duration(text)


TENANT: Final = Parsed("id", _tenant)
TAG: Final = Parsed("tag", _tag)
DURATION: Final = Parsed("duration", _duration)

_WHO: Final = (
    option("--tenant", type=TENANT, help="Tenant id; default: the profile's."),
    option("--profile", metavar="NAME|PATH", help="A profile of .systemprompt/profiles."),
    option("--ca-file", type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path), help="Certificate authorities (PEM) instead of the system's."),
    option("--registry-host", multiple=True, metavar="HOST[:PORT]", help="A registry besides registry.fly.io."),
)  # fmt: skip
_LOCK: Final = option(
    "--on-lock",
    type=click.Choice(["fail", "wait", "replace"]),
    default="fail",
    show_default=True,
    help="While another run of the tenant goes on; replace: those who wait give up.",
)
_PROOF: Final = (
    option("--no-wait", is_flag=True, help="End with the server's answer, without the proof."),
    option("--wait-timeout", type=DURATION, help="For status and health together; default 5m."),
    option("--stability", type=DURATION, help="How long the URL must stay healthy; default 0."),
    option("--message", metavar="WHY", help="Why, for the history."),
)


def _all(options: tuple[Callable[[F], F], ...], command: F) -> F:
    for each in reversed(options):
        command = each(command)
    return command


def lock_option(command: F) -> F:
    """What to do while another run goes on."""
    return _LOCK(command)


def target_options(command: F) -> F:
    """Who is deployed to."""
    return _all(_WHO, command)


def proof_options(command: F) -> F:
    """What counts as deployed."""
    return _all(_PROOF, command)
