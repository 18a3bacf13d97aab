"""Every failure that a deploy can meet: one table of codes, remedies and what follows from them."""

from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from deployer.states.flow import State


@dataclass(frozen=True, slots=True)
class Retry:
    """How often the machine repeats a state by itself. Pauses are in seconds."""

    name: str
    tries: int  # in all, the first one included
    base: float = 1.0  # of the first pause
    factor: float = 2.0  # from one pause to the next
    cap: float = 30.0  # of one pause
    budget: float = 120.0  # of all pauses
    jitter: bool = True  # anything from 0 to the pause: many clients must not come back at once
    settle: bool = False  # it may have happened over there: look before repeating

    def pause(self, tries: int, chance: float) -> float:
        """How long to wait after so many tries; `chance` is a number from 0 to 1."""
        longest = min(self.cap, self.base * self.factor ** (tries - 1))
        return longest * chance if self.jitter else longest


NEVER: Final = Retry("never", 1)  # the same input fails the same way
ONCE: Final = Retry("once", 2)
TWICE: Final = Retry("twice", 3)
BACKOFF: Final = Retry("backoff", 5)  # nothing happened over there
SLOWLY: Final = Retry("slowly", 5, base=10.0)  # the other side wants fewer requests
# An engine that is restarted needs seconds, whoever asks.
ENGINE: Final = Retry("twice, for the engine", 3, base=5.0, jitter=False)
STEP: Final = Retry("once, for the engine", 2, base=5.0, jitter=False)
# The engine itself has already retried each layer for 50 s.
PUSH: Final = Retry("push", 3, base=10.0, factor=3.0, jitter=False)
PUSH_ONCE: Final = Retry("push once", 2, base=10.0, jitter=False)
WAIT: Final = Retry("wait", 120, base=10.0, factor=1.0, cap=10.0, budget=600.0, jitter=False)
SETTLE: Final = Retry("settle", 1, settle=True)

# fmt: off
_B, _I, _A, _P, _D = (
    State.BUILDING, State.IMAGING, State.AUTHENTICATING, State.PUSHING, State.DEPLOYING,
)


@unique
class Kind(Enum):
    """One row a failure. The seven rows of the deploy document keep their resolutions verbatim."""

    #                      id      resolution                                        retry    resume at (None: where it failed)
    # What cargo can meet, in Building
    COMPILE_ERROR        = "B01",  "Fix code, re-run",                               NEVER,   None
    DATABASE_URL_MISSING = "B02",  "Ensure local tenant exists",                     NEVER,   None
    DATABASE_UNREACHABLE = "B02b", "Start the local tenant's database",              ONCE,    None
    MANIFEST_BROKEN      = "B03",  "Check the project root and `Cargo.toml`",        NEVER,   None
    NO_SUCH_PACKAGE      = "B04",  "Check the extensions' manifests against `Cargo.toml`", NEVER, None
    CARGO_MISSING        = "B05",  "Install Rust (rustup) or fix PATH",              NEVER,   None
    TOOLCHAIN_MISSING    = "B06",  "Install the toolchain: `rustup toolchain install`", NEVER, None
    DEPENDENCIES         = "B07",  "Check network, or run `cargo fetch`",            ONCE,    None
    LOCK_FILE_STALE      = "B08",  "Run `cargo update -w` and commit the lock file", NEVER,   None
    LINKER               = "B09",  "Install the linker or fix the missing symbol",   NEVER,   None
    BUILD_DISK_FULL      = "B10",  "Free space in `target/` (2 GiB or more), re-run", NEVER,  None
    RUSTC_KILLED         = "B11",  "Free memory or build with fewer jobs",           ONCE,    None
    SECRET_IN_BINARY     = "B17",  "Take the secret out: read it when the program runs", NEVER, None
    BINARY_UNUSABLE      = "B12",  "Run `cargo clean --release`, re-run",            NEVER,   None
    CARGO_KILLED         = "B13",  "Re-run",                                         ONCE,    None
    CARGO_LOCKED         = "B14",  "Another cargo uses `target/`: wait for it or end it", NEVER, None
    BUILD_STALLED        = "B16",  "Look at what cargo waits for, re-run",           ONCE,    None
    BUILD_FAILED         = "B00",  "Read cargo's message",                           NEVER,   None

    # What the build at the engine can meet, in Imaging
    ENGINE_DOWN          = "I01",  "Start Docker (`systemctl start docker`)",        ENGINE,   None
    ENGINE_FORBIDDEN     = "I02",  "Add the user to the group `docker`",             NEVER,   None
    ENGINE_SILENT        = "I02b", "Restart Docker",                                 ENGINE,   None
    ENGINE_CONTEXT       = "I02c", "Fix `docker context` or DOCKER_HOST",            NEVER,   None
    BINARY_MISSING       = "I03",  "Run `just build --release`",                     NEVER,   _B
    WEB_DIST_MISSING     = "I04",  "Run `npm run build`",                            NEVER,   None
    SOURCE_MISSING       = "I05",  "Create the path or fix the Dockerfile",          NEVER,   None
    SOURCE_IGNORED       = "I06",  "Remove the rule from `.dockerignore`",           NEVER,   None
    DOCKERFILE_MISSING   = "I07",  "Create `.systemprompt/Dockerfile` or pass --dockerfile", NEVER, None
    DOCKERFILE_SYNTAX    = "I08",  "Fix the Dockerfile",                             NEVER,   None
    BASE_UNREACHABLE     = "I09",  "Check network, or pull the base image beforehand", TWICE, None
    BASE_NOT_FOUND       = "I10",  "Check the FROM line",                            NEVER,   None
    RUN_STEP_FAILED      = "I11",  "Fix the RUN step",                               NEVER,   None
    RUN_STEP_KILLED      = "I11b", "Check that Docker runs and has memory, re-run",  STEP,    None
    ENGINE_DIED          = "I12",  "Check that Docker runs, re-run",                 ENGINE,   None
    ENGINE_DISK_FULL     = "I13",  "Free space: `docker system prune`",              NEVER,   None
    CONTEXT_UNREADABLE   = "I14",  "Fix the file's mode, or exclude it in `.dockerignore`", NEVER, None
    CONTEXT_CHANGED      = "I15",  "Do not change files during a deploy, re-run",    ONCE,    None
    BAD_REFERENCE        = "I16",  "Fix `--tag`",                                    NEVER,   None
    WRONG_PLATFORM       = "I17",  "Build on or for linux/amd64",                    NEVER,   None
    ENGINE_GARBAGE       = "I19",  "Report the engine's version",                    ONCE,    None
    SOURCE_FORBIDDEN     = "I21",  "Take the secret out of the Dockerfile's COPY",   NEVER,   None
    SOURCE_OUTSIDE       = "I22",  "COPY only what lies inside the project",         NEVER,   None
    SECRET_IN_IMAGE      = "I23",  "Take the secret out: read it when the program runs", NEVER, None
    NEEDS_ENGINE         = "I24",  "Build with an engine, or change what the message names", NEVER, None
    IMAGE_FAILED         = "I00",  "Read the engine's message",                      NEVER,   None

    # Authenticating: GET registry-token
    API_LOGIN_REFUSED    = "A01",  "Check credentials, re-login: `systemprompt cloud auth login`", NEVER, None
    TENANT_FORBIDDEN     = "A02",  "Ask for access to the tenant",                   NEVER,   None
    TENANT_UNKNOWN       = "A03",  "Check the tenant id",                            NEVER,   None
    API_RATE_LIMIT       = "A04",  "Wait, then re-run",                              BACKOFF, None
    API_UNAVAILABLE      = "A05",  "Management API unavailable; try later",          BACKOFF, None
    API_UNREACHABLE      = "A06",  "Check network and API URL",                      TWICE,   None
    API_TLS              = "A07",  "Fix the certificate or the CA file",             NEVER,   None
    NOT_THE_API          = "A08",  "Check the API URL (a proxy or a captive portal answers?)", ONCE, None
    LOGIN_UNUSABLE       = "A09",  "Report it to the API's operator",                NEVER,   None
    API_URL_INVALID      = "A10",  "Fix the API URL",                                NEVER,   None
    TENANT_NOT_READY     = "A11",  "Finish the tenant's provisioning first",         NEVER,   None
    API_REFUSED          = "A00",  "Read the API's message",                         NEVER,   None

    # Pushing: the engine's push
    REGISTRY_AUTH        = "P01",  "Check credentials, re-login",                    NEVER,   _A
    REPOSITORY_DENIED    = "P02",  "Check the tenant's repository",                  NEVER,   _A
    LOGIN_EXPIRED        = "P03",  "Re-run: a new login is fetched",                 NEVER,   _A
    REGISTRY_UNREACHABLE = "P04",  "Check network and the registry's status",        BACKOFF, None
    REGISTRY_UNAVAILABLE = "P05",  "Registry unavailable; try later",                PUSH,    None
    REGISTRY_RATE_LIMIT  = "P06",  "Wait, then re-run",                              SLOWLY,    None
    PUSH_CUT             = "P07",  "Check network, re-run",                          PUSH,    None
    PUSH_STALLED         = "P08",  "Check network; it may block uploads",            PUSH,    None
    DIGEST_MISMATCH      = "P09",  "Data was corrupted on the way: check proxies",   PUSH_ONCE,    None
    REGISTRY_DISK_FULL   = "P10",  "Free space in the registry",                     PUSH,   None
    IMAGE_NOT_LOCAL      = "P11",  "Re-run: the image is built again",               NEVER,   _I
    REGISTRY_TLS         = "P12",  "Fix the registry's certificate",                 NEVER,   None
    PUSH_ENGINE_DIED     = "P13",  "Check that Docker runs, re-run",                 ENGINE,   None
    NOT_A_REGISTRY       = "P14",  "Check what answers in place of the registry (proxy?)", NEVER, None
    TAG_OVERWRITTEN      = "P15",  "Tag was overwritten; use a new tag",             NEVER,   None
    REALM_FOREIGN        = "P17",  "The registry sends logins elsewhere: report it to its operator", NEVER, None
    INDEX_REFUSED        = "P18",  "Build without attestations: the registry takes no image index", NEVER, _I
    PUSH_FAILED          = "P00",  "Read the engine's message",                      NEVER,   None

    # Deploying: POST deploy and the proof
    NOT_SENT             = "D01",  "Check network and API URL",                      BACKOFF, None
    DEPLOY_LOGIN_REFUSED = "D02",  "Check credentials, re-login: `systemprompt cloud auth login`", NEVER, None
    DEPLOY_FORBIDDEN     = "D02b", "Ask for access to the tenant",                   NEVER,   None
    DEPLOY_NO_TENANT     = "D03",  "Check the tenant id",                            NEVER,   None
    IMAGE_NOT_FOUND      = "D04",  "Ensure push completed",                          NEVER,   _P
    DEPLOY_RUNNING       = "D05",  "Another deploy of this tenant runs: wait for it", WAIT,   None
    KEY_IN_PROGRESS      = "D05b", "Wait for the deploy of this run, then `deployer resume`", WAIT,   None
    DEPLOY_INVALID       = "D06",  "Read the API's message",                         NEVER,   None
    DEPLOY_RATE_LIMIT    = "D07",  "Wait, then re-run",                              BACKOFF, None
    UPDATE_FAILED        = "D08",  "Check Fly.io status",                            NEVER,   None
    SERVER_ERROR         = "D09",  "Outcome unknown: check Fly.io status, then `deployer resume` or `deployer settle`", SETTLE, None
    OUTCOME_UNKNOWN      = "D10",  "Outcome unknown: check Fly.io status, then `deployer resume` or `deployer settle`", SETTLE, None
    ANSWER_UNREADABLE    = "D11",  "Outcome unknown: check Fly.io status, then `deployer resume` or `deployer settle`", SETTLE, None
    DEPLOY_REDIRECTED    = "D12",  "Check the API URL",                              NEVER,   None
    UNHEALTHY            = "D15",  "Check Fly.io status",                            NEVER,   None
    POST_OPEN            = "D16",  "Outcome unknown: check Fly.io status, then `deployer resume` or `deployer settle`", SETTLE, None
    SUPERSEDED           = "D17",  "Someone deployed after you; nothing was undone", NEVER,   None
    TAG_NOT_ACCEPTED     = "D18",  "Leave out `--tag`: this server names the tag",   NEVER,   None
    NO_ROLLBACK          = "D19",  "Deploy the older commit again: this server keeps one tag", NEVER, None

    # The tool itself
    CONFIGURATION        = "T20",  "Fix what the message names",                     NEVER,   None
    RUN_BUSY             = "T03",  "Wait, or look with `deployer status`",           NEVER,   None
    STATE_DISK_FULL      = "T05",  "Free space for the journal",                     NEVER,   None
    STATE_CORRUPT        = "T06",  "Check the tenant's status, then move the journal aside", NEVER, None
    STATE_IO             = "T07",  "Check the disk",                                 NEVER,   None
    STATE_NEWER          = "T08",  "Update deployer",                                NEVER,   None
    STATE_FORBIDDEN      = "T09",  "Fix the journal's owner and mode",               NEVER,   None
    NO_SUCH_RUN          = "T21",  "Look at `deployer history`",                     NEVER,   None
    LOOPING              = "T16",  "Report it with `deployer show`; then `deployer deploy`", NEVER, None
    BUG                  = "T15",  "Report it; `deployer resume` is safe",           NEVER,   None
# fmt: on

    id: str
    resolution: str
    retry: Retry
    resume_at: State | None

    def __new__(cls, id: str, resolution: str, retry: Retry, resume_at: State | None) -> "Kind":  # noqa: A002  # the field's own word
        """Make the id the member's value: `Kind("P01")` finds the row, and JSON holds the id."""
        member = object.__new__(cls)
        member._value_ = id
        member.id, member.resolution = id, resolution
        member.retry, member.resume_at = retry, resume_at
        return member

    @classmethod
    def by_id(cls, failure_id: str) -> "Kind":
        """The row with this id; raises LookupError. (`Kind("P01")` does not pass mypy.)"""
        for kind in cls:
            if kind.id == failure_id:
                return kind
        raise LookupError(f"no failure has the id {failure_id!r}")

    @property
    def retriable(self) -> bool:
        """Whether the same command can succeed later with nothing changed."""
        return self.retry.tries > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run stopped. A value: returned, journaled, shown; never raised."""

    phase: State
    kind: Kind
    cause: str  # the other side's own words, one line
    details: tuple[str, ...] = field(default=())  # the last lines before it, or the parts of it
    retry_after: float | None = None  # seconds that the other side asked to wait
    http_status: int | None = None
    request_id: str | None = None

    @property
    def id(self) -> str:
        """The id of the row, as `explain` takes it."""
        return self.kind.id

    @property
    def resolution(self) -> str:
        """What to do about it."""
        return self.kind.resolution

    @property
    def retriable(self) -> bool:
        """Whether the same command can succeed later with nothing changed."""
        return self.kind.retriable

    @property
    def outcome_unknown(self) -> bool:
        """Whether a deploy may have happened: look before repeating."""
        return self.kind.retry.settle

    @property
    def resume_at(self) -> State:
        """The state that a resume enters."""
        return self.kind.resume_at or self.phase


class ExitCode:
    """The command line's exit codes; nothing else in the project holds one."""

    DONE: Final = 0
    FAILED: Final = 1
    USAGE: Final = 2
    REFUSED: Final = 3  # configuration or preflight; nothing was started
    UNHEALTHY: Final = 15
    SUPERSEDED: Final = 16
    UNKNOWN: Final = 20
    BUG: Final = 70
    JOURNAL: Final = 74
    BUSY: Final = 75
    BY_PHASE: Final = {_B: 10, _I: 11, _A: 12, _P: 13, _D: 14}


_EXIT_BY_KIND: Final = {
    Kind.UNHEALTHY: ExitCode.UNHEALTHY,
    Kind.SUPERSEDED: ExitCode.SUPERSEDED,
    Kind.CONFIGURATION: ExitCode.REFUSED,
    Kind.NO_SUCH_RUN: ExitCode.REFUSED,
    Kind.RUN_BUSY: ExitCode.BUSY,
    Kind.STATE_DISK_FULL: ExitCode.JOURNAL,
    Kind.STATE_CORRUPT: ExitCode.JOURNAL,
    Kind.STATE_IO: ExitCode.JOURNAL,
    Kind.STATE_NEWER: ExitCode.JOURNAL,
    Kind.STATE_FORBIDDEN: ExitCode.JOURNAL,
    Kind.BUG: ExitCode.BUG,
}


def exit_code(failure: Failure) -> int:
    """The exit code of a run that stopped with `failure`."""
    if failure.outcome_unknown:
        return ExitCode.UNKNOWN
    return _EXIT_BY_KIND.get(failure.kind, ExitCode.BY_PHASE[failure.phase])
