"""Which files a build context consists of: exactly what the Dockerfile copies, if all is there.

Builders notice a missing source late or not at all (BuildKit takes a wildcard that matches nothing
for success), and dockerd does not apply the ignore file to a tar.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from deployer.adapters.context.dockerfile import (
    Dockerfile,
    IgnoreRules,
    Source,
    is_pattern,
    name_matcher,
    parse_dockerfile,
)
from deployer.adapters.context.entries import Entries, Entry, RefusedError, below
from deployer.adapters.context.project_tree import Node, ProjectTree
from deployer.adapters.context.rules import (
    WEB_INDEX,
    is_secret,
    missing_kind,
    promises_web_index,
)
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.states.flow import State

# What Fly.io's machines run, as a last stage may name it.
_PLATFORMS: Final = frozenset({"linux/amd64", "amd64", "linux/x86_64", "linux"})
# A path that was listed a moment ago, and is now gone or something else.
_CHANGED: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextPlan:
    """What the engine would receive, each path once and in order."""

    dockerfile: str  # its path inside the context
    sources: tuple[Source, ...]
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]  # of copied directories: secrets, and links that lead outside
    # The Dockerfile and `.dockerignore` themselves, where the latter names them: an engine reads
    # them, and takes them out again before it copies.
    hidden: frozenset[str]
    base_images: tuple[str, ...]
    fetches: bool  # as the Dockerfile's


def plan_context(
    root: Path,
    dockerfile: Path,
    pending: frozenset[str] = frozenset(),
    checkpoint: Callable[[], None] = lambda: None,
) -> ContextPlan | Failure:
    """Plan the context below `root`. Blocks: it walks each directory that is copied.

    `pending` are paths that do not exist yet and count as if they did; `checkpoint` is called
    between directories and may raise to end the walk.
    """
    try:
        return _Planner(ProjectTree(root), pending, checkpoint).plan(dockerfile)
    except RefusedError as refused:
        return context_failure(refused.kind, str(refused))
    except OSError as error:
        return read_failure(error)


def context_flaws(
    root: Path,
    dockerfile: Path,
    pending: frozenset[str] = frozenset(),
    checkpoint: Callable[[], None] = lambda: None,
) -> tuple[Failure, ...]:
    """All that is wrong with the context, one failure a source. Blocks as `plan_context` does."""
    return _Planner(ProjectTree(root), pending, checkpoint).flaws(dockerfile)


def _judged(work: Callable[[], object]) -> Failure | None:
    """Why `work` was refused; None if it was not."""
    try:
        work()
    except RefusedError as refused:
        return context_failure(refused.kind, str(refused))
    except OSError as error:
        return read_failure(error)
    return None


def context_failure(kind: Kind, cause: str) -> Failure:
    """A failure of the build context."""
    return Failure(phase=State.IMAGING, kind=kind, cause=clean(cause))


def read_failure(error: OSError) -> Failure:
    """The failure for a path of the context that could not be read."""
    kind = Kind.CONTEXT_CHANGED if error.errno in _CHANGED else Kind.CONTEXT_UNREADABLE
    return context_failure(kind, f"{error.filename or 'the build context'}: {error.strerror}")


class _Planner:
    """Collects the entries of one context."""

    def __init__(
        self, tree: ProjectTree, pending: frozenset[str], checkpoint: Callable[[], None]
    ) -> None:
        self._tree = tree
        self._pending = pending
        self._entries = Entries(tree, checkpoint)

    def flaws(self, dockerfile: Path) -> tuple[Failure, ...]:
        parsed: list[Dockerfile] = []
        found = [_judged(lambda: parsed.append(self._begun(dockerfile)[1]))]
        sources = parsed[0].sources if parsed else ()
        found += [_judged(partial(self._take, source)) for source in sources]
        return tuple(dict.fromkeys(failure for failure in found if failure))

    def _begun(self, dockerfile: Path) -> tuple[str, Dockerfile]:
        # Both files belong to each context, whatever the rules say: there are no rules yet.
        found = self._dockerfile(dockerfile)
        self._entries.rules = self._ignore_rules(dockerfile)
        return found, self._parsed(found)

    def plan(self, dockerfile: Path) -> ContextPlan:
        found, parsed = self._begun(dockerfile)
        for source in parsed.sources:
            self._take(source)
        return ContextPlan(
            dockerfile=found,
            sources=parsed.sources,
            entries=self._entries.sorted(),
            left_out=tuple(sorted(self._entries.left_out)),
            hidden=self._hidden(found),
            base_images=parsed.base_images,
            fetches=parsed.fetches,
        )

    def _hidden(self, dockerfile: str) -> frozenset[str]:
        rules = self._entries.rules
        # The engine knows only the ignore file in the root.
        if rules.name != ".dockerignore":
            return frozenset()
        return frozenset(path for path in (dockerfile, rules.name) if rules.ignores(path))

    def _dockerfile(self, dockerfile: Path) -> str:
        if dockerfile.is_absolute() or ".." in dockerfile.parts:
            raise RefusedError(Kind.DOCKERFILE_MISSING, f"{dockerfile} does not lie in the project")
        found = self._entries.follow(str(dockerfile), f"the Dockerfile {dockerfile}")
        if found is None:
            raise RefusedError(Kind.DOCKERFILE_MISSING, f"{dockerfile} does not exist")
        if self._tree.node(found) is not Node.FILE:
            raise RefusedError(Kind.DOCKERFILE_MISSING, f"{dockerfile} is not a file")
        self._entries.add(found)
        return found

    def _ignore_rules(self, dockerfile: Path) -> IgnoreRules:
        for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
            found = self._entries.follow(name, name)
            if found is None:
                continue
            self._entries.add(found)
            try:
                return IgnoreRules(self._tree.text(found), name)
            except ValueError as error:  # UnicodeDecodeError is one
                raise RefusedError(Kind.CONFIGURATION, f"{name}: {error}") from error
        return IgnoreRules("")

    def _parsed(self, dockerfile: str) -> Dockerfile:
        try:
            parsed = parse_dockerfile(self._tree.text(dockerfile))
        except UnicodeDecodeError as error:
            raise RefusedError(Kind.DOCKERFILE_SYNTAX, f"{dockerfile}: {error}") from error
        if isinstance(parsed, Failure):
            raise RefusedError(parsed.kind, f"{dockerfile}: {parsed.cause}")
        for platform in parsed.platforms:
            if platform not in _PLATFORMS:
                raise RefusedError(Kind.WRONG_PLATFORM, f"{dockerfile}: FROM --platform={platform}")
        return parsed

    # -- One COPY source.

    def _take(self, source: Source) -> None:
        if source.path.split("/")[0] == "..":
            raise RefusedError(Kind.SOURCE_OUTSIDE, f"{source} leaves the project")
        if source.is_pattern:
            self._take_pattern(source)
        elif not self._take_path(source, source.path):
            self._refuse_as_ignored(source, source.path)
        if promises_web_index(source.path):
            self._require_web_index(source)

    def _take_pattern(self, source: Source) -> None:
        matches = self._matches(source)
        if not matches:
            raise RefusedError(missing_kind(source.path), f"{source} matches nothing")
        secrets = {path for path in matches if is_secret(path)}
        if secrets.issuperset(matches):
            self._refuse_secret(source, matches[0])
        self._entries.left_out |= {
            path for path in secrets if not self._entries.rules.ignores(path)
        }
        entered = [
            self._take_path(source, path)
            for path in matches
            if path not in secrets and not self._is_kept_out(path)
        ]
        if not any(entered):
            self._refuse_as_ignored(source, matches[0])

    def _is_kept_out(self, path: str) -> bool:
        rules = self._entries.rules
        return rules.ignores(path) and not rules.readmits_below(path)

    def _take_path(self, source: Source, path: str) -> bool:
        """Add what is at `path`; False if the ignore file keeps all of it out."""
        self._refuse_secret(source, path)
        awaited = list(self._pending_at(path))
        found = self._entries.follow(path, str(source))
        if found is None:
            if not awaited:
                raise RefusedError(missing_kind(path), f"{source} does not exist")
            return not all(map(self._entries.rules.ignores, awaited))
        self._refuse_secret(source, found)
        if found != path and self._entries.rules.ignores(path):
            return False
        return self._entries.add(found) or not all(map(self._entries.rules.ignores, awaited))

    def _require_web_index(self, source: Source) -> None:
        found = self._entries.follow(WEB_INDEX, str(source))
        if found is None:
            raise RefusedError(Kind.WEB_DIST_MISSING, f"{source} has no index.html")
        if found not in self._entries:
            self._refuse_as_ignored(source, WEB_INDEX)

    def _refuse_secret(self, source: Source, path: str) -> None:
        if is_secret(path):
            cause = f"{source} would put a secret into the image: {path}"
            raise RefusedError(Kind.SOURCE_FORBIDDEN, cause)

    def _refuse_as_ignored(self, source: Source, path: str) -> None:
        rules = self._entries.rules
        cause = f"{source}: {rules.name} ignores {path} by the rule {rules.rule_for(path)}"
        raise RefusedError(Kind.SOURCE_IGNORED, cause)

    def _pending_at(self, path: str) -> Iterator[str]:
        prefix = "" if path == "." else f"{path}/"
        return (made for made in self._pending if made == path or made.startswith(prefix))

    # -- Patterns: the engine matches part by part, and does not look behind links that match.

    def _matches(self, source: Source) -> list[str]:
        parts = source.path.split("/")
        fixed = next(at for at, part in enumerate(parts) if is_pattern(part))
        start = "/".join(parts[:fixed]) or "."
        found = [self._entries.follow(start, str(source)) or start]
        for part in parts[fixed:]:
            matches = self._part_matcher(source, part)
            found = [
                below(base, name) for base in found for name in self._names(base) if matches(name)
            ]
        return found

    def _part_matcher(self, source: Source, part: str) -> Callable[[str], bool]:
        try:
            return name_matcher(part) if is_pattern(part) else part.__eq__
        except ValueError as error:
            raise RefusedError(Kind.DOCKERFILE_SYNTAX, f"{source}: {error}") from error

    def _names(self, directory: str) -> list[str]:
        prefix = "" if directory == "." else f"{directory}/"
        made = {path.removeprefix(prefix).split("/")[0] for path in self._pending_at(directory)}
        return sorted(made.union(self._tree.names(directory)))
