"""Why cargo failed, from what it left behind. Pure; the phrases are cargo's, rustup's and sqlx's."""

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from deployer.adapters.cargo.messages import Message
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.states.flow import State

LOW_SPACE: Final = 256 << 20  # bytes
_BY_SIGNAL: Final = 128
_GUARD_EXEC: Final = re.compile(r"guard-exec: \d+ ")
_LINKER_WORDS: Final = ("error: ", "undefined reference to", "cannot find -l", "No space left")
# A command line between backquotes fills a whole message; its program is enough.
_LONG_COMMAND: Final = re.compile(r"`([^` ]{1,200}) [^`]{60,}`")


class Rule(NamedTuple):
    """A line that holds all `phrases` is a sign of `kind`."""

    kind: Kind
    phrases: tuple[str, ...]

    def fits(self, text: str) -> bool:
        """Whether `text` holds each phrase."""
        return all(phrase in text for phrase in self.phrases)


_DISK_FULL: Final = (
    Rule(Kind.BUILD_DISK_FULL, ("No space left on device",)),
    Rule(Kind.BUILD_DISK_FULL, ("(os error 28)",)),
    Rule(Kind.BUILD_DISK_FULL, ("Disk quota exceeded",)),
)

# The kernel takes memory back by KILL; its helpers (earlyoom, systemd-oomd) ask by TERM first.
_RUSTC_KILLED: Final = (
    Rule(Kind.RUSTC_KILLED, ("(signal: 9, SIGKILL",)),
    Rule(Kind.RUSTC_KILLED, ("(signal: 15, SIGTERM",)),
)

# With little space left, a bus error is a full disk: linkers write into mapped files, and get the
# signal in place of "No space left on device" (measured).
BUS_RULES: Final = (
    Rule(Kind.BUILD_DISK_FULL, ("terminated with signal 7",)),
    Rule(Kind.BUILD_DISK_FULL, ("signal: 7", "SIGBUS")),
)

# In rustc's errors that have no code: macros, `env!`, the linker.
ERROR_RULES: Final = (
    *_DISK_FULL,
    Rule(Kind.DATABASE_URL_MISSING, ("set `DATABASE_URL` to use query macros",)),
    Rule(Kind.DATABASE_URL_MISSING, ("environment variable `DATABASE_URL` not defined",)),
    Rule(Kind.DATABASE_URL_MISSING, ("SQLX_OFFLINE=true", "no cached data for this query")),
    Rule(Kind.DATABASE_UNREACHABLE, ("error communicating with database: ",)),
    Rule(Kind.DATABASE_UNREACHABLE, ("error returned from database: password authentication",)),
    Rule(Kind.DATABASE_UNREACHABLE, ("error returned from database: database ", "does not exist")),
    Rule(Kind.RUSTC_KILLED, ("linking with `", "signal: 9 (SIGKILL)")),
    Rule(Kind.RUSTC_KILLED, ("linking with `", "signal: 15 (SIGTERM)")),
    Rule(Kind.RUSTC_KILLED, ("terminated with signal 9",)),
    Rule(Kind.RUSTC_KILLED, ("terminated with signal 15",)),
    Rule(Kind.LINKER, ("linker `", "` not found")),
    Rule(Kind.LINKER, ("linking with `",)),
    Rule(Kind.LINKER, ("could not exec the linker",)),
)

# On stderr, once a build was begun.
BUILD_RULES: Final = (
    *_DISK_FULL,
    *_RUSTC_KILLED,
    Rule(Kind.TOOLCHAIN_MISSING, ("could not execute process", "rustc", "(never executed)")),
    Rule(Kind.COMPILE_ERROR, ("could not compile `", "previous error")),
)

# On stderr, when cargo never got so far. Of two kinds the upper one wins: a path dependency that
# is missing also reads "failed to get", and says so below that "failed to read … Cargo.toml".
START_RULES: Final = (
    *_DISK_FULL,
    *_RUSTC_KILLED,
    Rule(Kind.TOOLCHAIN_MISSING, ("toolchain '", "is not installed")),
    Rule(Kind.TOOLCHAIN_MISSING, ("rustup could not choose a version of cargo",)),
    Rule(Kind.TOOLCHAIN_MISSING, ("is not installed for the toolchain",)),
    Rule(Kind.TOOLCHAIN_MISSING, ("is not applicable to the '", "toolchain")),
    Rule(Kind.TOOLCHAIN_MISSING, ("could not execute process", "(never executed)")),
    Rule(Kind.TOOLCHAIN_MISSING, ("because it requires rustc",)),
    Rule(Kind.TOOLCHAIN_MISSING, (" is not supported by the following package",)),
    Rule(Kind.TOOLCHAIN_MISSING, ("this version of Cargo is older than",)),
    Rule(Kind.NO_SUCH_PACKAGE, ("package ID specification `", "did not match any packages")),
    Rule(Kind.NO_SUCH_PACKAGE, ("package(s) `", "not found in workspace")),
    Rule(Kind.NO_SUCH_PACKAGE, ("cannot specify features for packages outside of workspace",)),
    Rule(Kind.NO_SUCH_PACKAGE, ("no bin target named",)),
    Rule(Kind.LOCK_FILE_STALE, ("the lock file", "because --locked was passed")),
    Rule(Kind.LOCK_FILE_STALE, ("the lock file", "needs to be updated but")),
    Rule(Kind.LOCK_FILE_STALE, ("failed to parse lock file",)),
    Rule(Kind.MANIFEST_BROKEN, ("manifest path `", "does not exist")),
    Rule(Kind.MANIFEST_BROKEN, ("could not find `Cargo.toml`",)),
    Rule(Kind.MANIFEST_BROKEN, ("failed to read `", "Cargo.toml`")),
    Rule(Kind.MANIFEST_BROKEN, ("failed to load manifest",)),
    Rule(Kind.MANIFEST_BROKEN, ("failed to parse manifest",)),
    Rule(Kind.MANIFEST_BROKEN, ("--> ", "Cargo.toml:")),
    Rule(Kind.MANIFEST_BROKEN, ("multiple workspace roots found",)),
    Rule(Kind.MANIFEST_BROKEN, ("current package believes it's in a workspace",)),
    Rule(Kind.MANIFEST_BROKEN, ("virtual manifest",)),
    Rule(Kind.DEPENDENCIES, ("failed to get `", "as a dependency of")),
    Rule(Kind.DEPENDENCIES, ("spurious network error",)),
    Rule(Kind.DEPENDENCIES, ("no matching package named",)),
    Rule(Kind.DEPENDENCIES, ("no matching package found",)),
    Rule(Kind.DEPENDENCIES, ("failed to download",)),
    Rule(Kind.DEPENDENCIES, ("could not download file",)),
    Rule(Kind.DEPENDENCIES, ("failed to query replaced source",)),
    Rule(Kind.DEPENDENCIES, ("you're using offline mode",)),
    Rule(Kind.DEPENDENCIES, ("but --offline was specified",)),
    Rule(Kind.MANIFEST_BROKEN, ("failed to select a version for",)),
)


# In what a build script that failed had written to its stderr.
SCRIPT_RULES: Final = (Rule(Kind.DATABASE_URL_MISSING, ("DATABASE_URL",)),)

# The guard's own line, with the errno: no such file, no permission, not a program, no directory.
EXEC_RULES: Final = tuple(
    Rule(Kind.CARGO_MISSING, (f"guard-exec: {errno} ",)) for errno in (2, 13, 8, 20, 40)
)

PROSE_RULES: Final = tuple(dict.fromkeys((*EXEC_RULES, *START_RULES, *BUS_RULES, *BUILD_RULES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one cargo left behind."""

    status: int
    finished: bool | None  # what its last message said; None: no build was begun
    errors: tuple[Message, ...]  # the first of them
    error_count: int
    signs: Mapping[Rule, str]  # the first line on stderr that fits the rule
    complaint: str | None  # the first `error: …` on stderr
    root_cause: str | None  # what stands below its last `Caused by:`
    tail: tuple[str, ...]
    least_free: int | None  # bytes in `target/`; None: not known
    oom_kills: int


def signs(line: str, rules: Iterable[Rule] = PROSE_RULES) -> list[Rule]:
    """The rules that `line` fits."""
    # Of a hundred megabytes most lines fit none: for those the first phrase is all that is sought.
    return [rule for rule in rules if rule.phrases[0] in line and rule.fits(line)]


def failure(evidence: Evidence) -> Failure:
    """What made this cargo fail. Only for one that did: without success as its last message."""
    kind = _kind(evidence)
    cause = _cause(kind, evidence) + _hints(kind, evidence)
    return Failure(phase=State.BUILDING, kind=kind, cause=cause, details=evidence.tail)


def _kind(evidence: Evidence) -> Kind:
    if evidence.status in (126, 127) and (kind := _told(EXEC_RULES, evidence)):
        return kind
    if _killed_by(evidence.status):
        return Kind.CARGO_KILLED
    if evidence.finished is None:
        return _told(START_RULES, evidence) or Kind.BUILD_FAILED
    if evidence.errors:
        return _compiler_kind(evidence)
    rules = (*_bus_rules(evidence), *SCRIPT_RULES, *BUILD_RULES)
    return _told(rules, evidence) or Kind.BUILD_FAILED


def _told(rules: tuple[Rule, ...], evidence: Evidence) -> Kind | None:
    return next((rule.kind for rule in rules if rule in evidence.signs), None)


def _compiler_kind(evidence: Evidence) -> Kind:
    uncoded = [_words(error) for error in evidence.errors if error.code is None]
    for rule in (*_bus_rules(evidence), *ERROR_RULES):
        if any(rule.fits(words) for words in uncoded):
            return rule.kind
    if all(error.level != "error" for error in evidence.errors):
        return Kind.BUILD_FAILED  # "error: internal compiler error": nothing to fix in the code
    return Kind.COMPILE_ERROR


def _words(error: Message) -> str:
    """What an error says, the linker's own words included, and the quoted source left out."""
    return "\n".join((error.message, *(note.message for note in error.children)))


def _bus_rules(evidence: Evidence) -> tuple[Rule, ...]:
    """What a bus error means, which depends on the space that there was."""
    low = evidence.least_free is not None and evidence.least_free < LOW_SPACE
    return BUS_RULES if low else ()


def _killed_by(status: int) -> int | None:
    """The signal in an exit status: negative from the system, above 128 from the guard."""
    if status < 0:
        return -status
    return status - _BY_SIGNAL if _BY_SIGNAL < status < _BY_SIGNAL + signal.NSIG else None


def _cause(kind: Kind, evidence: Evidence) -> str:
    if number := _killed_by(evidence.status):
        return f"cargo was ended by signal {number} ({signal.strsignal(number)})"
    if evidence.errors:
        return _first_error(kind, evidence)
    if evidence.status == 0:
        return "cargo ended without an error, but never said that the build succeeded"
    told = evidence.complaint or next(iter(evidence.signs.values()), None)
    if told is None:
        return f"cargo ended with exit status {evidence.status} and gave no reason"
    words = f"{told.strip()}: {evidence.root_cause}" if evidence.root_cause else told
    return clean(_LONG_COMMAND.sub(r"`\1 …`", _GUARD_EXEC.sub("cannot execute ", words)))


def _first_error(kind: Kind, evidence: Evidence) -> str:
    """The error that decided the kind, where it is, and how many more there are."""
    rules = tuple(rule for rule in (*BUS_RULES, *ERROR_RULES) if rule.kind is kind)
    decisive = (error for error in evidence.errors if signs(_words(error), rules))
    error = next(decisive, evidence.errors[0])
    code = f"[{error.code.code}]" if error.code else ""
    place = f" ({error.place})" if error.place else _linker_words(error)
    others = f"; {evidence.error_count - 1} more" if evidence.error_count > 1 else ""
    return clean(f"error{code}: {clean(error.message, 300)}{place}{others}")


def _linker_words(error: Message) -> str:
    """Where rustc only repeats an exit status, what the linker itself had to say first."""
    lines = (line.strip() for note in error.children for line in note.message.splitlines())
    telling = (line for line in lines if any(word in line for word in _LINKER_WORDS))
    return next((f": {clean(line, 120)}" for line in telling), "")


def _hints(kind: Kind, evidence: Evidence) -> str:
    """What the system saw meanwhile, where it may explain the failure."""
    if kind is Kind.BUILD_DISK_FULL and evidence.least_free is not None:
        return f" ({evidence.least_free >> 20} MiB were free at the least)"
    if kind in (Kind.RUSTC_KILLED, Kind.CARGO_KILLED) and evidence.oom_kills:
        return " (the kernel killed processes for want of memory meanwhile)"
    return ""
