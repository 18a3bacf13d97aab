"""What surrounds one invocation: streams, clocks, the environment, and the library behind it."""

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import click

from deployer.cli.leaving import leave
from deployer.cli.options import Globals, chosen_globals
from deployer.cli.output import Out, Style

if TYPE_CHECKING:
    from deployer.cli.document import Document
    from deployer.cli.wording import Line
    from deployer.events import Event
    from deployer.failures import Failure
    from deployer.model import Secret
    from deployer.names import RunId
    from deployer.ports import Log
    from deployer.preflight import Preflight
    from deployer.result import DeployResult
    from deployer.run import DeployRequest, OnLock, Run, Settlement
    from deployer.settings.values import Settings


class Deploys(Protocol):
    """What the command line asks of a Deployer."""

    async def preflight(self, request: "DeployRequest") -> "Preflight":
        """Look at what a deploy needs, without an effect."""

    async def doctor(self, request: "DeployRequest", *, api: bool = True) -> "Preflight":
        """Look at everything, without an effect."""

    async def deploy(
        self,
        request: "DeployRequest",
        *,
        on_lock: "OnLock" = ...,
        on_event: "Callable[[Event], None] | None" = None,
        acknowledge: bool = True,
    ) -> "DeployResult":
        """Deploy."""

    async def resume(
        self,
        tenant: str,
        run_id: str | None = None,
        *,
        on_lock: "OnLock" = ...,
        on_event: "Callable[[Event], None] | None" = None,
        acknowledge: bool = True,
    ) -> "DeployResult":
        """Go on."""

    async def rollback(
        self,
        request: "DeployRequest",
        *,
        to: str | None = None,
        on_lock: "OnLock" = ...,
        on_event: "Callable[[Event], None] | None" = None,
        acknowledge: bool = True,
    ) -> "DeployResult":
        """Go back."""

    async def settle(self, tenant: str, run_id: str, settlement: "Settlement") -> "Run | Failure":
        """Record what a person knows."""

    async def acknowledge(self, run_id: "RunId") -> None:
        """The result was heard."""


OpenDeployer = Callable[
    ["Settings", "Log | None"], Awaitable["AbstractAsyncContextManager[Deploys]"]
]


async def open_deployer(
    settings: "Settings", logger: "Log | None"
) -> "AbstractAsyncContextManager[Deploys]":
    """The real one."""
    from anyio.to_thread import run_sync  # noqa: PLC0415

    # httpx brings a command line of its own where click and rich are installed: 30 ms for nobody.
    # Without that module it takes the way that it has for those who lack them.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: cannot be imported
    # httpx and its like take a fifth of a second; beside a thread, the loop still hears signals.
    await run_sync(import_module, "deployer.wiring")
    from deployer.api import Deployer  # noqa: PLC0415

    return Deployer.from_settings(settings, logger=logger)


def wall_clock() -> float:
    """Seconds since the epoch."""
    return datetime.now(UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The outside of one invocation; tests bring their own."""

    environ: Mapping[str, str]
    out: Out  # answers: the URL, the lists, the JSON document
    err: Out  # talk
    json: bool = False
    interactive: bool = False  # somebody sits there and can be asked
    terminal: bool = False  # the talk goes to a terminal that can move its cursor
    secrets: "list[Secret]" = field(default_factory=list)  # those that the invocation has read
    wall: Callable[[], float] = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    open_deployer: OpenDeployer = open_deployer
    leave: Callable[[int], None] = leave  # when a run has ended; it need not return

    @classmethod
    def of_process(cls, *, json: bool) -> Self:
        """The real one."""
        out, err, environ = Out(sys.stdout), Out(sys.stderr), os.environ
        asked = err.terminal and sys.stdin is not None and sys.stdin.isatty()
        moves = err.terminal and environ.get("TERM", "") not in ("", "dumb")
        ci = environ.get("CI", "").lower() not in ("", "0", "false")
        return cls(
            environ=environ,
            out=out,
            err=err,
            json=json,
            interactive=asked and not ci,
            terminal=moves and not ci,
        )

    def document(self, document: "Document") -> None:
        """Write the one JSON document."""
        from deployer.cli.document import encode  # noqa: PLC0415

        self.out.line(encode(document))


@dataclass(frozen=True, slots=True)
class Invocation:
    """A program with its global options: what each command works with."""

    program: Program
    choices: Globals

    @property
    def directory(self) -> Path:
        """Where the command starts: `-C`, else the current directory, without links."""
        try:
            return Path(self.choices.directory or ".").resolve()
        except OSError:
            raise click.UsageError("the current directory is gone; pass -C DIR") from None

    def answer(self, document: "Callable[[], Document]", lines: "Iterable[Line]") -> None:
        """Give a command's answer on stdout: as JSON, or line by line."""
        if self.program.json:
            self.program.document(document())
            return
        for text, style in lines:
            self.program.out.line(text, style)

    def say(self, lines: "Iterable[Line]") -> None:
        """Talk, on stderr."""
        for text, style in lines:
            self.program.err.line(text, style)

    def warn(self, texts: Iterable[str]) -> None:
        """Talk that a person should read."""
        if not self.choices.quiet:
            for text in texts:
                self.program.err.line(f"warning: {text}", Style.WARN)


def invocation(ctx: click.Context) -> Invocation:
    """The invocation that a command belongs to."""
    program = ctx.find_object(Program)
    if program is None:
        raise RuntimeError("the root command was called without a Program")
    choices = chosen_globals(ctx)
    for stream in (program.out, program.err):
        stream.decide_colour(choices.color, program.environ)
    return Invocation(program, choices)
