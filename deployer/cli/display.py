"""Which display a run gets: none, appended lines, or a live terminal."""

from typing import Protocol

from deployer.cli import github
from deployer.cli.output import wants_colour
from deployer.cli.plain import PlainLines
from deployer.cli.program import Invocation
from deployer.cli.quiet import Quiet
from deployer.events import Event


class Display(Protocol):
    """Shows a run while it goes on."""

    @property
    def tick_seconds(self) -> float:
        """How often it wants to hear that time passes."""

    def event(self, event: Event) -> None:
        """Something happened."""

    def tick(self, wall: float) -> None:
        """Time passed; `wall` is in seconds since the epoch."""

    def note(self, text: str) -> None:
        """Say something that is no event."""

    def close(self) -> None:
        """Leave the terminal as it was; called once or more, before the closing lines."""


def display_for(cli: Invocation) -> Display:
    """The display that fits the options and the place."""
    program, verbose = cli.program, cli.choices.verbose
    if cli.choices.quiet:
        return Quiet(program.err)
    grouped = github.runs_here(program.environ)
    # Tool output and log lines would be written into the middle of a live line.
    if verbose or grouped or not program.terminal:
        return PlainLines(program.err, program.monotonic, verbose=verbose > 0, grouped=grouped)
    from deployer.cli.terminal import LiveLines  # noqa: PLC0415  # rich takes 60 ms

    colour = wants_colour(cli.choices.color, program.environ, terminal=True)
    return LiveLines(program.err, program.monotonic, colour=colour)
