"""git: which commit a project stands at, and what in it differs from that commit."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import anyio
from anyio import from_thread, to_thread

from deployer.adapters.process.job import Job, Sink, run
from deployer.adapters.process.programs import find_program, search_path
from deployer.adapters.text import clean, decode
from deployer.model import Revision

UNKNOWN: Final = "unknown"
SECONDS: Final = 10.0  # for everything about one project
ANSWER_MAX: Final = 16 << 20  # bytes; a longer list of changes is not read
# What Building makes is no change of its inputs.
BUT_NOT_TARGET: Final = ("--", ":/", ":(exclude)target")
# The project's configuration may name programs to run; none of these questions needs one.
QUIET: Final = ("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
STATUS: Final = ("status", "--porcelain=v2", "-z", "--untracked-files=all", "--no-renames")
DIFF: Final = (
    *("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames"),
    *("--submodule=short", "--full-index"),  # the whole hash stands for a binary file's content
)
_VERSION: Final = re.compile(rb"git version ([0-9.]+)")
# The folder's own tree fails where a repository around it does not track it. What follows --short
# is shortened, and must be one name.
HEAD: Final = ("rev-parse", "HEAD", "HEAD:./", "--show-toplevel", "--short", "HEAD")
_HEAD: Final = re.compile(
    rb"([0-9a-f]{40,64})\n[0-9a-f]{40,64}\n(/.*)\n([0-9a-f]{4,64})\n", re.DOTALL
)
SUBMODULES: Final = "--ignore-submodules=none"


@dataclass(frozen=True, slots=True)
class Changes:
    """The entries of `git status --porcelain=v2 -z`; paths are relative to the repository's root."""

    entries: tuple[bytes, ...]

    @classmethod
    def parse(cls, output: bytes) -> Self:
        """Split the list; without renames each entry is one field."""
        return cls(tuple(entry for entry in output.split(b"\0") if entry))

    @property
    def untracked(self) -> tuple[bytes, ...]:
        """The files that git does not know."""
        return tuple(entry[2:] for entry in self.entries if entry.startswith(b"? "))

    @property
    def dirty_submodules(self) -> Iterator[bytes]:
        """The submodules that hold changes of their own: of those git tells no more from outside."""
        for entry in self.entries:
            # 1 XY SCMU mH mI mW hH hI path
            fields = entry.split(b" ", 8)
            if fields[0] == b"1" and fields[2][:1] == b"S" and fields[2][2:] != b"..":
                yield fields[8]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a repository stands; `fingerprint` differs wherever a build could."""

    short_sha: str
    dirty: bool
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why git could not tell, on one line."""

    why: str


class Collected:
    """A sink that keeps a short answer whole, and knows when it was too long."""

    def __init__(self) -> None:
        """Begin empty."""
        self.answer = bytearray()
        self.whole = True

    def __call__(self, chunk: bytes) -> None:
        """Take `chunk`."""
        self.whole = self.whole and len(self.answer) + len(chunk) <= ANSWER_MAX
        if self.whole:
            self.answer += chunk


class Git:
    """The project's history, looked at without changing anything. Fits `deployer.ports.SourceControl`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Find git by PATH of `environment`, once."""
        self._path: Final = find_program("git", environment)
        kept = {
            name: environment[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in environment
        }
        # No GIT_* of the caller: a hook's would point at another repository.
        self._environment: Final = kept | {
            "PATH": search_path(environment),
            "LC_ALL": "C",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
        }

    async def revision(self, project_root: Path) -> Revision:
        """Commit, cleanliness and fingerprint of the project at `project_root`.

        Outside a repository, without git, or after ten seconds, the commit is `unknown` and the
        fingerprint equals no other: nobody can say then that nothing changed.
        """
        found: Standing | Unanswered = Unanswered(f"git did not answer within {SECONDS:.0f} s")
        with anyio.move_on_after(SECONDS):
            found = await self._standing(project_root)
        if isinstance(found, Unanswered):
            nobodys = secrets.token_hex(32)
            return Revision(
                short_sha=UNKNOWN, dirty=False, fingerprint=nobodys, why_unknown=found.why
            )
        return Revision(short_sha=found.short_sha, dirty=found.dirty, fingerprint=found.fingerprint)

    async def version(self) -> str | None:
        """git's own version; None where there is none that runs."""
        answer = Collected()
        with anyio.move_on_after(SECONDS):
            unanswered = await self._ask(Path("/"), {("version",): answer})
            found = _VERSION.match(bytes(answer.answer))
            return found[1].decode() if unanswered is None and found else None
        return None

    async def _standing(self, folder: Path) -> Standing | Unanswered:
        """Where the repository around `folder` stands, or why git can't tell."""
        head, status, diff = Collected(), Collected(), hashlib.sha256()
        unanswered = await self._ask(
            folder,
            {
                HEAD: head,
                (*STATUS, SUBMODULES, *BUT_NOT_TARGET): status,
                (*DIFF, SUBMODULES, *BUT_NOT_TARGET): diff.update,
            },
        )
        if unanswered is not None:
            return unanswered
        where = _HEAD.fullmatch(head.answer)
        if not (status.whole and where):
            return Unanswered("git's answer is too long or none of git's")
        root = Path(os.fsdecode(where[2]))
        changes = Changes.parse(bytes(status.answer))
        parts = [where[1], bytes(status.answer), diff.digest()]
        parts.append(await _states(root, changes.untracked))
        for path in changes.dirty_submodules:
            inner = await self._standing(root / os.fsdecode(path))
            if isinstance(inner, Unanswered):
                return inner
            parts.append(inner.fingerprint.encode())
        return Standing(where[3].decode(), bool(changes.entries), _fingerprint(parts))

    async def _ask(
        self, folder: Path, questions: Mapping[tuple[str, ...], Sink]
    ) -> Unanswered | None:
        """Put several questions at once; None when each was answered."""
        if self._path is None:
            return Unanswered("no git is on PATH")
        complaints = {question: Collected() for question in questions}
        failed: set[tuple[str, ...]] = set()

        async def ask(git: str, question: tuple[str, ...], sink: Sink) -> None:
            job = Job(
                command=(git, *QUIET, *question),
                cwd=folder,
                environment=self._environment,
                stdout=sink,
                stderr=complaints[question],
            )
            if await run(job) != 0:
                failed.add(question)

        async with anyio.create_task_group() as group:
            for question, sink in questions.items():
                group.start_soon(ask, self._path, question, sink)
        # In the order of the questions, not of the answers: the same trouble, the same words.
        return next((_unanswered(complaints[each]) for each in questions if each in failed), None)


def _unanswered(complaint: Collected) -> Unanswered:
    """git's own reason: the first line of its prose."""
    line, *_ = decode(bytes(complaint.answer)).splitlines() or [""]
    return Unanswered(clean(line.removeprefix("fatal: ")) or "git failed without a word")


async def _states(root: Path, paths: Sequence[bytes]) -> bytes:
    """Size and time of each untracked file: to read them all could take minutes."""
    return await to_thread.run_sync(_stat_all, root, paths, limiter=anyio.CapacityLimiter(1))


def _stat_all(root: Path, paths: Sequence[bytes]) -> bytes:
    return b"\0".join(_state(os.fsencode(root) + b"/" + path) for path in paths)


def _state(path: bytes) -> bytes:
    from_thread.check_cancelled()
    try:
        status = os.lstat(path)
    except OSError as error:
        return f"error {error.errno}".encode()
    return f"{status.st_size} {status.st_mtime_ns} {status.st_mode}".encode()


def _fingerprint(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        # Each with its length: no part can be mistaken for the end of the one before.
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
