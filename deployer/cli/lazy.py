"""A group that imports a command when it is called, and not to list it."""

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from deployer.cli.options import with_globals


class Lazy(NamedTuple):
    """Where a command is, and what the list says of it."""

    place: str  # module:attribute
    help: str


class LazyGroup(click.Group):
    """Commands by the place where they are."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **keys: Any) -> None:
        super().__init__(*args, **keys)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's interface
        """The names, in the order in which they are used."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None when there is none of this name."""
        if cmd_name not in self._lazy:
            return None
        if cmd_name not in self.commands:
            module, _, attribute = self._lazy[cmd_name].place.partition(":")
            self.commands[cmd_name] = with_globals(getattr(import_module(module), attribute))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which was meant."""
        if args[0] not in self._lazy and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], self._lazy, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self._lazy.items()])
