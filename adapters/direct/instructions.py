"""Which Dockerfiles need no engine: one stage of FROM, COPY and settings. Pure.

Whatever else there is gets refused with its line; an engine can do it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from json import JSONDecoder
from typing import Final

from e2b_dockerfile_utils import (
    DockerfileInstruction,
    DockerfileSyntaxError,
    ShellLex,
    parse_dockerfile_ast,
)

from deployer.adapters.direct.values import RefusedError

PLATFORM: Final = "linux/amd64"
_ALLOWED_FLAGS: Final = {
    "FROM": frozenset({"platform"}),
    "COPY": frozenset({"chown", "chmod"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "retries"}),
}
_SETTINGS: Final = frozenset(
    {
        *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
        *("LABEL", "MAINTAINER", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
)
_MAY_BE_JSON: Final = frozenset({"CMD", "COPY", "ENTRYPOINT", "HEALTHCHECK", "SHELL", "VOLUME"})
_JSON: Final = JSONDecoder()
_WHY_NOT: Final = {
    "RUN": "RUN executes a command",
    "ADD": "ADD may fetch or unpack (COPY does not)",
    "ONBUILD": "ONBUILD is for the images above",
}
# BuildKit sets these, the classic builder does not.
_PLATFORM_ARG: Final = re.compile(r"(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One line of the Dockerfile, checked for what it is and not yet for what it says."""

    name: str  # in capitals
    line: int
    text: str  # as written
    flags: dict[str, str]
    words: tuple[str, ...]
    json: bool  # the words came as a JSON array


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Dockerfile that qualifies."""

    base: str  # as FROM names it, variables expanded
    base_line: int
    instructions: tuple[Instruction, ...]  # after FROM
    global_args: dict[str, str]  # ARGs before FROM
    escape: str  # the Dockerfile's escape character


def qualified(text: str) -> Program:
    """`text` as a program. Raises RefusedError with the line that needs an engine."""
    try:
        ast = parse_dockerfile_ast(text)
    except DockerfileSyntaxError as error:
        raise RefusedError(None, str(error)) from error
    instructions = [_checked(each) for each in ast.instructions]
    starts = [at for at, each in enumerate(instructions) if each.name == "FROM"]
    if not starts:
        raise RefusedError(None, "the Dockerfile has no FROM")
    if len(starts) > 1:
        raise RefusedError(instructions[starts[1]].line, "several stages")
    start = instructions[starts[0]]
    known = _global_args(instructions[: starts[0]], ast.escape_token)
    return Program(
        base=_base(start, known, ast.escape_token),
        base_line=start.line,
        instructions=tuple(instructions[starts[0] + 1 :]),
        global_args=known,
        escape=ast.escape_token,
    )


def expanded(word: str, known: dict[str, str], escape: str, line: int) -> str:
    """`word` without its quotes and with its variables; an unset one is empty, as for engines."""
    try:
        return ShellLex(escape, env=known, skip_unset_env=False).process_word(word)
    except ValueError as error:
        raise RefusedError(line, str(error)) from error


def _checked(found: DockerfileInstruction) -> Instruction:
    name, line = found.name, found.start_line
    if name not in _SETTINGS:
        raise RefusedError(line, f"{_WHY_NOT.get(name, f'{name} is not known')}: needs an engine")
    if found.heredocs:
        raise RefusedError(line, f"{name} with a heredoc needs an engine")
    if name in _MAY_BE_JSON and not found.json and _begins_with_array(found):
        # What follows is dropped by dockerd 20.10; newer builders take the line for a shell's.
        raise RefusedError(line, f"{name} with text behind its JSON array needs an engine")
    flags = {}
    for flag in found.flags:
        key, equals, value = flag.removeprefix("--").partition("=")
        if key not in _ALLOWED_FLAGS.get(name, ()) or not equals:
            raise RefusedError(line, f"{name} {flag} needs an engine")
        flags[key] = value
    return Instruction(
        name=name,
        line=line,
        text=found.original,
        flags=flags,
        words=tuple(found.args),
        json=found.json,
    )


def _begins_with_array(found: DockerfileInstruction) -> bool:
    words = found.args[1:] if found.name == "HEALTHCHECK" else found.args
    try:
        value, _ = _JSON.raw_decode(" ".join(words))
    except ValueError:
        return False
    return isinstance(value, list)


def _global_args(instructions: list[Instruction], escape: str) -> dict[str, str]:
    known: dict[str, str] = {}
    for each in instructions:
        if each.name != "ARG":
            raise RefusedError(each.line, f"{each.name} before FROM")
        known |= arguments(each, partial(expanded, known=known, escape=escape, line=each.line))
    return known


def arguments(step: Instruction, expand: Callable[[str], str]) -> dict[str, str]:
    """What one ARG sets. May raise RefusedError.

    Its words see the variables as they were before it, or one the other: that differs.
    """
    found: dict[str, str] = {}
    for word in step.words:
        name, given, default = word.partition("=")
        refuse_platform(name, step.line)
        if any(_mentions(default, earlier) for earlier in found):
            why = (
                f"{step.text}: whether {name} sees what the same line sets differs between builders"
            )
            raise RefusedError(step.line, f"{why}: needs an engine")
        if given:
            found[name] = expand(default)
    return found


def _mentions(word: str, name: str) -> bool:
    return re.search(rf"\$\{{?{re.escape(name)}(?!\w)", word) is not None


def refuse_platform(name: str, line: int) -> None:
    """Refuse an ARG whose value depends on the builder."""
    if _PLATFORM_ARG.fullmatch(name):
        raise RefusedError(line, f"ARG {name} has another value in each builder: needs an engine")


def _base(start: Instruction, known: dict[str, str], escape: str) -> str:
    words = start.words
    if len(words) != 1 and not (len(words) == 3 and words[1].upper() == "AS"):  # noqa: PLR2004
        raise RefusedError(start.line, "FROM requires either one or three arguments")
    platform = expanded(start.flags.get("platform", PLATFORM), known, escape, start.line)
    if platform != PLATFORM:
        raise RefusedError(start.line, f"the platform is {platform}, not {PLATFORM}")
    base = expanded(words[0], known, escape, start.line)
    if base == "scratch":
        raise RefusedError(start.line, "FROM scratch needs an engine")
    return base
