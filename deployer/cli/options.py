"""Options: each long flag has its `DEPLOYER_…` variable; the global ones stand before or after a command."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

_CHOSEN: Final = f"{__name__}.chosen"  # where click's context keeps the global options
_ALSO: Final = "Also: --json, -q, -v, --color, -C, --state-dir, as `deployer --help` says."
_TRUE: Final = ("1", "true", "yes", "on", "t", "y")
_GIVEN: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def variable(flag: str) -> str:
    """The environment variable of a long flag: `--skip-push` has DEPLOYER_SKIP_PUSH."""
    return "DEPLOYER_" + flag.removeprefix("--").replace("-", "_").upper()


def option(*flags: str, **keys: Any) -> Callable[[F], F]:
    """A click option that its variable can set too; the first flag is the long one."""
    keys.setdefault("envvar", variable(flags[0].partition("/")[0]))
    return click.option(*flags, **keys)


class Parsed(click.ParamType[Any]):
    """A value with a parser that raises ValueError."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Parse `value`, or end in a usage error that says why."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """The options that each command takes."""

    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    directory: Path | None = None
    state_dir: Path | None = None


def _folder(text: str) -> Path:
    # An empty variable of a script would be the current directory.
    if not text:
        raise ValueError("the path is empty")
    return Path(os.path.realpath(text))  # Path.resolve() fails on a loop of links


def wants_json(args: list[str], environ: Mapping[str, str]) -> bool:
    """Whether the answer is to be JSON; told before parsing, because parsing itself may fail."""
    return "--json" in args or environ.get(variable("--json"), "").lower() in _TRUE


def chosen_globals(ctx: click.Context) -> Globals:
    """What was given before and after the command; the latter wins."""
    return Globals(**ctx.meta.get(_CHOSEN, {}))


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    name = param.name or ""
    if ctx.get_parameter_source(name) in _GIVEN and name != "json":
        ctx.meta.setdefault(_CHOSEN, {})[name] = value


def _global(*flags: str, first: bool, **keys: Any) -> click.Option:
    # After the command, the variable must not win over a flag before it; and one list is enough.
    own = {"envvar": variable(flags[0])} if first else {"hidden": True}
    return click.Option(flags, callback=_remember, expose_value=False, **own, **keys)


def global_options(*, first: bool) -> list[click.Parameter]:
    """The options of every command; `first`: as they stand before it."""
    directory = click.Path(exists=True, file_okay=False, path_type=Path)
    return [
        _global("--json", first=first, is_flag=True, help="One JSON document on stdout."),
        _global("--quiet", "-q", first=first, is_flag=True, help="Only the end of it."),
        _global("--verbose", "-v", first=first, count=True, help="Output of tools, and a log; -vv: more."),
        _global("--color", first=first, type=click.Choice(["auto", "always", "never"]), help="Colours."),
        _global("--directory", "-C", first=first, type=directory, metavar="DIR", help="Start there."),
        _global("--state-dir", first=first, type=Parsed("path", _folder), metavar="DIR", help="Where the journal is."),
    ]  # fmt: skip


def with_globals(command: click.Command) -> click.Command:
    """Let `command`, and each below it, take the global options too."""
    taken = {flag for param in command.params for flag in param.opts}
    command.params.extend(
        each for each in global_options(first=False) if taken.isdisjoint(each.opts)
    )
    command.epilog = command.epilog or _ALSO
    for below in getattr(command, "commands", {}).values():
        with_globals(below)
    return command
