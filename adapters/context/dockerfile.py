"""What a Dockerfile copies from the build context, and what an ignore file keeps out of it.

`e2b_dockerfile_utils` is a port of BuildKit's parser and moby's matcher.
"""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from e2b_dockerfile_utils import (
    DockerfileInstruction,
    DockerfileSyntaxError,
    PatternMatcher,
    ShellLex,
    parse_dockerfile_ast,
    parse_heredoc,
)

from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.names import is_utf8
from deployer.states.flow import State

# BuildKit's own test for what ADD fetches by itself.
_REMOTE: Final = re.compile(r"(?:https?|git|ssh)://|git@", re.IGNORECASE)
# References that have no default: `${NAME:-x}` is always known.
_PLAIN_REFERENCE: Final = re.compile(r"(?<!\\)\$(?:\{(\w+)\}|(\w+))")
_STARS: Final = re.compile(r"(?<!\\)\*{2,}")
_BLANK: Final = re.compile(r"\s")
_WILDCARD: Final = re.compile(r"[*?\[]")
_NAME_VALUE: Final = 3  # ENV's arguments come as name, value, delimiter


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One path that a COPY or an ADD takes from the build context."""

    text: str  # as written
    path: str  # variables expanded, cleaned, relative to the context; "." is the context itself
    line: int  # where its instruction begins
    instruction: str  # COPY or ADD

    @property
    def is_pattern(self) -> bool:
        """Whether it holds wildcards: a pattern names whatever it matches."""
        return is_pattern(self.path)

    def __str__(self) -> str:
        """`line 4: COPY services/`, cleaned for showing."""
        return clean(f"Dockerfile line {self.line}: {self.instruction} {self.text}")


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The parts of a Dockerfile that decide before the build whether it can succeed."""

    sources: tuple[Source, ...]
    base_images: tuple[str, ...]  # stages of the same file are none
    platforms: tuple[str, ...] = ()  # that the last stage asks for, in so many words
    # Takes more than base images and sources: a URL, or the files of an image that is no stage.
    fetches: bool = False


class _DockerfileError(Exception):
    """A Dockerfile that cannot be built; becomes a Failure in `parse_dockerfile`."""

    def __init__(self, line: int | None, reason: str) -> None:
        super().__init__(reason if line is None else f"Dockerfile line {line}: {reason}")


def parse_dockerfile(text: str) -> Dockerfile | Failure:
    """What `text` copies and builds on; DOCKERFILE_SYNTAX names the line that is wrong."""
    if "\0" in text:
        return _syntax_failure("it holds a NUL byte")  # and no path may
    try:
        ast = parse_dockerfile_ast(text)
        reader = _Reader(ast.escape_token)
        for instruction in ast.instructions:
            reader.read(instruction)
        reader.finish()
    except (DockerfileSyntaxError, _DockerfileError) as error:
        return _syntax_failure(str(error))
    return Dockerfile(
        tuple(reader.sources),
        tuple(dict.fromkeys(reader.base_images)),
        reader.platforms,
        fetches=reader.fetches,
    )


def _syntax_failure(cause: str) -> Failure:
    return Failure(phase=State.IMAGING, kind=Kind.DOCKERFILE_SYNTAX, cause=clean(cause))


@dataclass(slots=True)
class _Stage:
    """The variables of one build stage. ENV wins over ARG, and only ENV passes to later stages."""

    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return self.args | self.env


class _Reader:
    """Reads instructions in order, because each sees the variables that stand above it."""

    def __init__(self, escape_token: str) -> None:
        self.sources: list[Source] = []
        self.base_images: list[str] = []
        self.platforms: tuple[str, ...] = ()
        self.fetches = False
        self._escape = escape_token
        self._global_args: dict[str, str] = {}
        self._stages: dict[str, _Stage] = {}
        self._stage: _Stage | None = None

    def read(self, instruction: DockerfileInstruction) -> None:
        name = instruction.name
        if not all(map(_is_usable, instruction.args)):
            cause = f"{name} holds a NUL byte or half of a surrogate pair"
            raise _DockerfileError(instruction.start_line, cause)
        if name == "FROM":
            self._from(instruction)
        elif name == "ARG":
            self._arg(instruction)
        elif self._stage is None:
            raise _DockerfileError(
                instruction.start_line, f"no build stage in current context: {name} before FROM"
            )
        elif name == "ENV":
            self._env(instruction, self._stage)
        elif name in ("COPY", "ADD"):
            self._copy(instruction, self._stage)
        elif name == "RUN":
            self.fetches |= any(flag.startswith("--mount") for flag in instruction.flags)

    def finish(self) -> None:
        if self._stage is None:
            raise _DockerfileError(None, "the Dockerfile has no FROM")

    def _from(self, instruction: DockerfileInstruction) -> None:
        words = instruction.args
        aliased = len(words) == 3 and words[1].upper() == "AS"  # noqa: PLR2004  # image AS name
        if len(words) != 1 and not aliased:
            raise _DockerfileError(
                instruction.start_line, "FROM requires either one or three arguments"
            )
        # One with a variable in it ($BUILDPLATFORM) is the builder's to know.
        asked = (flag.removeprefix("--platform=") for flag in instruction.flags)
        self.platforms = tuple(each for each in asked if each[:2] != "--" and "$" not in each)
        image = self._expanded(instruction, words[0], self._global_args)
        parent = self._stages.get(image.lower())
        if parent is None and image != "scratch":
            self.base_images.append(image)
        self._stage = _Stage(env=dict(parent.env) if parent else {})
        if aliased:
            self._stages[words[2].lower()] = self._stage

    def _arg(self, instruction: DockerfileInstruction) -> None:
        # One line sees the variables as they were before it; that of ENV as well.
        known = dict(self._stage.variables if self._stage else self._global_args)
        args = self._stage.args if self._stage else self._global_args
        for word in instruction.args:
            name, given, default = word.partition("=")
            if given:
                args[name] = self._value(instruction, default, known)
            elif self._stage and name in self._global_args:
                args[name] = self._global_args[name]
            elif self._stage:
                args.pop(name, None)

    def _env(self, instruction: DockerfileInstruction, stage: _Stage) -> None:
        known = stage.variables
        for at in range(0, len(instruction.args), _NAME_VALUE):
            name, value = instruction.args[at : at + 2]
            stage.env[name] = self._value(instruction, value, known)

    def _copy(self, instruction: DockerfileInstruction, stage: _Stage) -> None:
        words = instruction.args
        if len(words) < 2:  # noqa: PLR2004  # one source and the destination
            raise _DockerfileError(
                instruction.start_line, f"{instruction.name} requires at least two arguments"
            )
        if not instruction.json and any(map(_BLANK.search, words)):
            # The parser splits with an eye on quotes, the builders at each blank.
            cause = f'a name with a blank needs the JSON form, {instruction.name} ["a b", "/x/"]'
            raise _DockerfileError(instruction.start_line, cause)
        origins = [flag[7:] for flag in instruction.flags if flag.startswith("--from=")]
        if origins:
            self.fetches |= not all(self._is_stage(origin) for origin in origins)
            return
        for word in words[:-1]:
            if self._is_local(instruction, word):
                self.sources.append(self._source(instruction, word, stage.variables))
            else:
                self.fetches |= parse_heredoc(word) is None

    def _is_stage(self, origin: str) -> bool:
        # A number may also name the stage; one that is too high fails in the build.
        return origin.isdigit() or origin.lower() in self._stages

    def _is_local(self, instruction: DockerfileInstruction, word: str) -> bool:
        if not instruction.json and parse_heredoc(word) is not None:
            return False
        return instruction.name == "COPY" or not _REMOTE.match(word)

    def _source(
        self, instruction: DockerfileInstruction, word: str, known: dict[str, str]
    ) -> Source:
        path = self._expanded(instruction, word, known)
        return Source(
            text=word,
            path=context_path(path),
            line=instruction.start_line,
            instruction=instruction.name,
        )

    def _expanded(
        self, instruction: DockerfileInstruction, word: str, known: dict[str, str]
    ) -> str:
        """`word` with its variables; one that nothing sets may be the base image's: refused."""
        for match in _PLAIN_REFERENCE.finditer(word):
            name = match[1] or match[2]
            if name not in known:
                raise _DockerfileError(
                    instruction.start_line,
                    f"{instruction.name} {word}: the Dockerfile does not set ${name}",
                )
        return self._value(instruction, word, known)

    def _value(self, instruction: DockerfileInstruction, word: str, known: dict[str, str]) -> str:
        lexer = ShellLex(self._escape, env=known, skip_unset_env=False)
        try:
            return lexer.process_word(word)
        except ValueError as error:
            raise _DockerfileError(instruction.start_line, str(error)) from error


def _is_usable(word: str) -> bool:
    return "\0" not in word and is_utf8(word)


def context_path(written: str) -> str:
    """`written` as the engine reads it: relative to the context, even with a leading slash."""
    return posixpath.normpath(written.lstrip("/") or ".")


class IgnoreRules:
    """The rules of one ignore file; the last that matches a path decides."""

    def __init__(self, text: str, name: str = ".dockerignore") -> None:
        """Read `text`; raise ValueError for a pattern that the engine would refuse."""
        self.name = name
        # A byte order mark would hide the first rule.
        self._matcher = PatternMatcher(text.removeprefix("\ufeff").splitlines())

    def ignores(self, path: str) -> bool:
        """Whether `path`, relative to the context, stays out of it."""
        return path != "." and self._matcher.matches(path)

    def readmits_below(self, directory: str) -> bool:
        """Whether an ignored `directory` may still hold paths that a `!` rule lets in."""
        return self._matcher.may_match_under(directory)

    def rule_for(self, path: str) -> str:
        """The rule that ignores `path`, as the file has it."""
        rules = (rule for rule in reversed(self._matcher.patterns) if not rule.startswith("!"))
        return next((rule for rule in rules if PatternMatcher([rule]).matches(path)), "*")


def is_pattern(text: str) -> bool:
    """Whether `text` holds the engine's wildcards."""
    return _WILDCARD.search(text) is not None


def name_matcher(pattern: str) -> Callable[[str], bool]:
    """Whether one name matches `pattern`: the engine's wildcards, which never cross a slash.

    Raises ValueError for a pattern that the engine would refuse.
    """
    # The matcher reads ignore rules, in which a leading `!` or `#` means something else.
    rule = f"\\{pattern}" if pattern[0] in "!# " else pattern
    # In those, ** crosses slashes, too; in one name it is a *.
    rule = _STARS.sub("*", rule)
    return PatternMatcher([rule]).matches
