"""What a check found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum

from deployer.failures import Failure


class Level(StrEnum):
    """How bad it is."""

    PASS = "pass"  # noqa: S105  # a word
    WARN = "warn"  # a deploy may go on
    FAIL = "fail"
    SKIPPED = "skipped"  # something else has to be mended first


class Advice(StrEnum):
    """What to do about a warning. What to do about a failure stands in the catalogue."""

    CLOCK = "Set this machine's clock (NTP): logins are judged by it"
    COMMIT = "Commit first: the tag names a commit, and this would not be it"
    COPY = "Add a COPY for it, or set `dev_only: true` in its manifest"
    CREDENTIALS_MODE = "Run `chmod 600` on it: others on this machine can read the login"
    DATABASE = "Start the database, or prepare .sqlx/ and set SQLX_OFFLINE=true"
    DISK = "Free some space, or a build may stop half-way"
    EMULATION = "Build on linux/amd64: programs compiled here do not run at Fly.io"
    GIT = "Install git, or commit the project: tags and history name the commit"
    LOGIN_ENDS = "Log in again first: `systemprompt cloud auth login`"
    MEND = "Correct the file"
    MEND_CONTEXT = "Check the Dockerfile's COPY lines, or exclude it in `.dockerignore`"
    OPEN_RUN = "Run `deployer resume` to go on with it, or `deployer deploy` to replace it"
    SETTLE = "Run `deployer resume`: it finds out what the request did"
    OWNER = "Run `git config --global --add safe.directory DIR` if you trust that folder's owner"
    STALE_BINARY = "Take its COPY out, or build it: what is copied is an old file"
    TARGET_DIR = "Nothing; deployer builds into the project's own target/"
    TRY_AGAIN = "Nothing; a deploy asks again when it needs it"
    WRAPPER = "Unset it if queries or migrations changed: a cached crate keeps the old ones"
    UNHEALTHY = "Look at Fly.io; a deploy may mend it, `deployer rollback` too"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    text: str  # what was found
    failure: Failure | None = None
    advice: Advice | None = None  # set for a warning
    skipped: bool = False

    @property
    def level(self) -> Level:
        """How bad it is."""
        if self.failure is not None:
            return Level.FAIL
        if self.skipped:
            return Level.SKIPPED
        return Level.WARN if self.advice else Level.PASS

    @property
    def ok(self) -> bool:
        """Whether a deploy may go on."""
        return self.failure is None

    @property
    def remedy(self) -> str | None:
        """What to do about it."""
        if self.failure is not None:
            return self.failure.resolution
        return self.advice.value if self.advice else None


def failed(name: str, failure: Failure) -> Finding:
    """A finding that stops a deploy."""
    return Finding(name=name, text=failure.cause, failure=failure)
