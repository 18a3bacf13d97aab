"""The project: crates, Dockerfile, what it copies, and the commit."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from posixpath import normpath
from typing import Final

from deployer.doctor.exam import Exam
from deployer.doctor.finding import Advice, Finding, failed
from deployer.failures import Failure

_RELEASE: Final = "target/release/"


async def crates(exam: Exam) -> tuple[Finding, ...]:
    """Whether the manifests say what is to be compiled."""
    toolchain, root = exam.adapters.toolchain, exam.plan.request.project_root
    found = toolchain.crates(root)
    if isinstance(found, Failure):
        return tuple(failed("crates", each) for each in toolchain.crate_flaws(root) or (found,))
    return (Finding(name="crates", text=", ".join(crate.name for crate in found)),)


async def context(exam: Exam) -> tuple[Finding, ...]:
    """Whether all that the Dockerfile copies is there, or will be."""
    found = await exam.survey()
    if isinstance(found, Failure):
        flaws = await exam.adapters.context.flaws(exam.order, exam.pending())
        return tuple(failed("context", each) for each in flaws or (found,))
    text = f"{found.files} files, {found.size} bytes"
    warned = (
        Finding(name="context", text=each, advice=Advice.MEND_CONTEXT) for each in found.warnings
    )
    return (Finding(name="context", text=text), *warned)


async def copies(exam: Exam) -> tuple[Finding, ...]:
    """Whether the Dockerfile copies what is compiled, and compiles what it copies."""
    found = await exam.survey()
    crates = exam.crates()
    if isinstance(found, Failure) or not all(crate.binaries for crate in crates):
        return ()
    built = [name for crate in crates for name in crate.binaries]
    copied = [normpath(source.lstrip("/")) for source in found.sources if "$" not in source]
    if len(copied) < len(found.sources):
        return ()  # a variable may name any of them
    left = [name for name in built if not any(map(_takes(_RELEASE + name), copied))]
    stale = [path for path in copied if _is_stale(path, built)]
    return (
        *(_unused(name) for name in left),
        *(_stale(path) for path in stale),
    )


def _no_commit(why: str) -> Finding:
    text = f"no commit is known: {why}" if why else "no commit is known"
    foreign = "dubious ownership" in why
    return Finding(name="commit", text=text, advice=Advice.OWNER if foreign else Advice.GIT)


def _takes(path: str) -> Callable[[str], bool]:
    """Whether a source takes `path` along."""

    def takes(source: str) -> bool:
        return source == "." or fnmatchcase(path, source) or path.startswith(f"{source}/")

    return takes


def _is_stale(path: str, built: list[str]) -> bool:
    name = path.removeprefix(_RELEASE)
    literal = path.startswith(_RELEASE) and not set(name) & set("*?[/")
    return literal and name not in built


def _unused(name: str) -> Finding:
    text = f"{name} is compiled, and the Dockerfile does not copy it"
    return Finding(name="copies", text=text, advice=Advice.COPY)


def _stale(path: str) -> Finding:
    text = f"the Dockerfile copies {path}, which nothing compiles"
    return Finding(name="copies", text=text, advice=Advice.STALE_BINARY)


async def commit(exam: Exam) -> tuple[Finding, ...]:
    """Which commit would be deployed."""
    revision = exam.plan.revision
    if revision.dirty:
        text = "uncommitted changes are deployed"
        return (Finding(name="commit", text=text, advice=Advice.COMMIT),)
    if revision.short_sha == "unknown":
        return (_no_commit(revision.why_unknown or ""),)
    return (Finding(name="commit", text=revision.short_sha),)
