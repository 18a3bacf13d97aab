"""What the exit codes mean, for `--help`; the codes themselves are the catalogue's."""

from typing import Final

from deployer.failures import ExitCode

MEANINGS: Final = {
    ExitCode.DONE: "done and verified, or an earlier success reported",
    ExitCode.FAILED: "failed, no better code",
    ExitCode.USAGE: "wrong usage",
    ExitCode.REFUSED: "configuration or preflight: nothing was started",
    **{code: f"{state.title} failed" for state, code in ExitCode.BY_PHASE.items()},
    ExitCode.UNHEALTHY: "deployed, but not healthy in time",
    ExitCode.SUPERSEDED: "superseded by another deploy",
    ExitCode.UNKNOWN: "outcome unknown: look before you repeat",
    ExitCode.BUG: "bug in deployer",
    ExitCode.JOURNAL: "journal unreadable, unwritable or too new",
    ExitCode.BUSY: "another run of the tenant is in progress",
}
SIGNALS: Final = ("129/130/143", "stopped by HUP/INT/TERM; `deployer resume` is safe")


def table() -> tuple[tuple[str, str], ...]:
    """The codes in order, with their meanings."""
    return (*((str(code), MEANINGS[code]) for code in sorted(MEANINGS)), SIGNALS)
