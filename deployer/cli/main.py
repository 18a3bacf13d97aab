"""The root command: which commands there are, and where. It imports none of them."""

import io
import os
from contextlib import redirect_stdout
from typing import Final

import click

from deployer.cli import ending
from deployer.cli.interrupts import exit_at_once
from deployer.cli.lazy import Lazy, LazyGroup
from deployer.cli.options import global_options, wants_json
from deployer.cli.output import Printed
from deployer.cli.program import Program

NAME: Final = "deployer"
FIRST_STEPS: Final = """\
deployer deploy --profile NAME   compile, image, push, run, and prove that it runs
deployer deploy --dry-run        look at everything, change nothing
deployer doctor                  what is missing here, and what to do about it
deployer sandbox demo            try it without an account
deployer --help                  all commands, options and exit codes
"""
_COMMANDS: Final = {
    "deploy": Lazy("deployer.cli.deploy:deploy", "Compile, build the image, push, run, prove."),
    "resume": Lazy("deployer.cli.resume:resume", "Go on with a run that stopped."),
    "settle": Lazy("deployer.cli.settle:settle", "Say what became of a POST without an answer."),
    "rollback": Lazy("deployer.cli.rollback:rollback", "Run an earlier image again."),
    "status": Lazy("deployer.cli.records:status", "The newest run, and what to do next."),
    "history": Lazy("deployer.cli.records:history", "The runs, newest first."),
    "show": Lazy("deployer.cli.records:show", "One run with its events."),
    "doctor": Lazy("deployer.cli.doctor:doctor", "Look at everything that a deploy needs."),
    "explain": Lazy("deployer.cli.explain:explain", "What a failure id means."),
    "sandbox": Lazy("deployer.sandbox.command:group", "A Management API and a registry to try."),
}


class Root(LazyGroup):
    """The group of all commands, with the exit codes in its help."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the exit codes and the rule for variables."""
        from deployer.cli.exit_codes import table  # noqa: PLC0415

        with formatter.section("Exit codes"):
            formatter.write_dl(table())
        formatter.write_paragraph()
        formatter.write_text(
            "Each long option has its variable: --wait-timeout is DEPLOYER_WAIT_TIMEOUT."
        )


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: ARG001
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import version  # noqa: PLC0415

    click.echo(f"{NAME} {version(NAME)}")
    ctx.exit()


def _root(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(FIRST_STEPS, nl=False)


root: Final = Root(
    name=NAME,
    lazy=_COMMANDS,
    callback=click.pass_context(_root),
    invoke_without_command=True,
    help="Deploy a systemprompt project: compile, image, push, run, and prove that it runs.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        *global_options(first=True),
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."),
    ],
)  # fmt: skip


def run(args: list[str]) -> int:
    """Carry out one command line of this process and return its exit code."""
    program = Program.of_process(json=wants_json(args, os.environ))
    if program.json:
        _answer_signals(program)
    return invoke(args, program)


def _answer_signals(program: Program) -> None:
    """Let a signal that ends the process leave the one document behind."""
    # Imported here: the handler may be called in the middle of any import.
    from deployer.cli import document, report  # noqa: PLC0415

    def last_word(number: int) -> None:
        if not program.out.used:
            ended = report.of_interruption(number, None)
            program.out.line(document.encode(document.of_report(ended)))

    exit_at_once(last_word)


def invoke(args: list[str], program: Program) -> int:
    """Carry out one command line; whatever happens, it ends in an exit code and one answer."""
    if not program.json:
        with redirect_stdout(Printed(program.out)):
            return ending.of(lambda: _call(args, program), args, program)
    # Text for people (a help page) becomes part of the document: stdout has nothing beside it.
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = ending.of(lambda: _call(args, program), args, program)
    if not program.out.used:
        from deployer.cli import document  # noqa: PLC0415

        program.out.line(document.encode(document.of_text(printed.getvalue(), code)))
    return code


def _call(args: list[str], program: Program) -> object:
    return root.main(args, prog_name=NAME, standalone_mode=False, obj=program)
