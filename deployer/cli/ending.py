"""How an invocation ends when its command does not return: wrong usage, Ctrl-C, or a bug."""

import signal
import traceback
from collections.abc import Callable

import click

from deployer.cli.interrupts import interrupted_code
from deployer.cli.output import Style
from deployer.cli.program import Program


def of(call: Callable[[], object], args: list[str], program: Program) -> int:
    """The exit code of `call`; what it raises is shown."""
    try:
        code = call()
    except click.ClickException as error:
        return _usage(error, program)
    except (click.Abort, KeyboardInterrupt):
        return interrupted_code(signal.SIGINT)
    except SystemExit as end:  # the sandbox's commands end so
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:  # noqa: BLE001  # the one place: a bug ends in a line and an exit code
        return _unexpected(error, args, program)
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException, program: Program) -> int:
    from deployer.adapters.text import clean  # noqa: PLC0415
    from deployer.cli import document  # noqa: PLC0415

    context = getattr(error, "ctx", None)
    command = context.command_path if context else "deployer"
    message, remedy = clean(error.format_message()), f"{command} --help"
    program.err.line(f"{command}: {message}", Style.BAD)
    program.err.line(f"  {remedy}")
    if program.json:
        program.out.line(document.encode(document.of_usage(message, remedy, error.exit_code)))
    return error.exit_code


def _unexpected(error: Exception, args: list[str], program: Program) -> int:
    from deployer.cli.closing import close  # noqa: PLC0415
    from deployer.cli.report import of_error  # noqa: PLC0415
    from deployer.errors import JournalError  # noqa: PLC0415

    cause = _innermost(error)
    if isinstance(cause, JournalError):
        return close(program, of_error(cause, None))
    return _bug(cause, args, program)


def _innermost(error: Exception) -> Exception:
    """The exception itself: a task group wraps even a single one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _bug(error: Exception, args: list[str], program: Program) -> int:
    from deployer.cli import document, report  # noqa: PLC0415
    from deployer.cli.scrubbing import scrubber  # noqa: PLC0415
    from deployer.failures import ExitCode, Failure, Kind  # noqa: PLC0415
    from deployer.states.flow import State  # noqa: PLC0415

    scrub = scrubber(program).line
    failure = Failure(
        phase=State.BUILDING, kind=Kind.BUG, cause=scrub(f"{type(error).__name__}: {error}")
    )
    program.err.line(f"bug in deployer: {failure.kind.id} {failure.cause}", Style.BAD)
    program.err.line(f"  {failure.kind.resolution}")
    if _is_verbose(args):
        # format_exception shows no locals: they hold tokens.
        for part in traceback.format_exception(error):
            for line in part.splitlines():
                program.err.line(f"  | {scrub(line)}", Style.DIM)
    else:
        program.err.line("  where: the same command with -v", Style.DIM)
    if program.json:
        ended = report.Report(exit_code=ExitCode.BUG, failure=failure)
        program.out.line(document.encode(document.of_report(ended)))
    return ExitCode.BUG


def _is_verbose(args: list[str]) -> bool:
    # What was parsed is gone with the exception.
    return any(arg == "--verbose" or (arg[:1] == "-" and set(arg[1:]) == {"v"}) for arg in args)
