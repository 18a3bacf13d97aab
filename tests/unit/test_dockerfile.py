"""What a Dockerfile copies."""

import pytest

from deployer.adapters.context.dockerfile import (
    Dockerfile,
    IgnoreRules,
    name_matcher,
    parse_dockerfile,
)
from deployer.failures import Failure, Kind


def paths(text: str) -> list[str]:
    parsed = parse_dockerfile(text)
    assert isinstance(parsed, Dockerfile), parsed
    return [source.path for source in parsed.sources]


@pytest.mark.parametrize(
    ("copy", "found"),
    [
        ("COPY a b /x/", ["a", "b"]),
        ("copy a /x/", ["a"]),
        ("ADD a /x/", ["a"]),
        ('COPY ["a b", "c", "/x/"]', ["a b", "c"]),
        ("COPY --chown=1:1 --chmod=755 a /x/", ["a"]),
        ("COPY a \\\n  # a comment\n  b /x/", ["a", "b"]),
        ("COPY /rooted/a ./b/../c dir/ /x/", ["rooted/a", "c", "dir"]),
        ("COPY . /x/", ["."]),
        ("COPY target/release/mcp-* /x/", ["target/release/mcp-*"]),
        ("COPY ../up /x/", ["../up"]),
        ("COPY <<EOF /x\nCOPY not-this /y\nEOF", []),
        ("COPY <<EOF a /x/\nhello\nEOF", ["a"]),
        ("COPY --from=build /app /x", []),
        ("COPY --from=0 /app /x", []),
        ("ADD https://example.test/f.tgz a /x/", ["a"]),
        ("ADD git@example.test:o/r.git /x/", []),
        ("COPY https://example.test/a /x/", ["https:/example.test/a"]),
        ("# COPY a /x/", []),
        ("RUN echo COPY a /x/", []),
        ("ONBUILD COPY a /x/", []),
    ],
)
def test_sources_are_read_as_the_engine_reads_them(copy: str, found: list[str]) -> None:
    assert paths(f"FROM debian\n{copy}\n") == found


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["ARG A=x", "COPY $A/f ${A}/g /y/"], ["x/f", "x/g"]),
        (["COPY ${A:-d}/f /y/"], ["d/f"]),
        (["ENV A=x B=y", "COPY $A$B /z/"], ["xy"]),
        (["ENV A old style", "COPY $A /z/"], ["old style"]),
        (["ARG A=arg", "ENV A=env", "COPY $A /z/"], ["env"]),
        (["ENV A=1", "ENV A=2 B=$A", "COPY $A $B /z/"], ["2", "1"]),
        (["COPY \\$A /z/"], ["$A"]),
        (["ARG A=1", "ARG A=2 B=$A", "COPY $A $B /z/"], ["2", "1"]),
    ],
)
def test_variables_in_sources_are_expanded(lines: list[str], found: list[str]) -> None:
    assert paths("\n".join(["FROM debian", *lines])) == found


def test_a_global_argument_counts_only_where_a_stage_asks_for_it() -> None:
    assert paths("ARG A=x\nFROM debian:$A\nARG A\nCOPY $A /y/\n") == ["x"]

    refused = parse_dockerfile("ARG A=x\nFROM debian:$A\nCOPY $A /y/\n")

    assert isinstance(refused, Failure)
    assert refused.cause == "Dockerfile line 3: COPY $A: the Dockerfile does not set $A"


def test_a_stage_inherits_the_environment_of_the_stage_it_builds_on() -> None:
    text = "FROM a AS one\nENV D=dist\nARG E=gone\nFROM one\nCOPY $D ${E:-none} /x/\n"

    assert paths(text) == ["dist", "none"]


def test_base_images_are_those_that_are_no_stage() -> None:
    parsed = parse_dockerfile(
        "ARG V=1\nFROM --platform=linux/amd64 rust:$V AS build\nFROM scratch\nFROM Build\nFROM b\n"
    )

    assert isinstance(parsed, Dockerfile)
    assert parsed.base_images == ("rust:1", "b")


def test_a_source_says_where_it_stands() -> None:
    parsed = parse_dockerfile("FROM a\n\nCOPY \\\n  x\x1b[31m /y/\n")

    assert isinstance(parsed, Dockerfile)
    assert str(parsed.sources[0]) == "Dockerfile line 3: COPY x"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "the Dockerfile has no FROM"),
        ("# only a comment\n", "the Dockerfile has no FROM"),
        ("FROM a\nCOPPY b /x/\n", "Dockerfile parse error on line 2: unknown instruction: COPPY"),
        ("COPY a /x/\n", "line 1: no build stage in current context: COPY before FROM"),
        ("FROM a\n\nCOPY a\n", "Dockerfile line 3: COPY requires at least two arguments"),
        ("FROM a b\n", "line 1: FROM requires either one or three arguments"),
        ("FROM a\nCOPY <<EOF /x\nnever ends\n", "unterminated heredoc"),
        ("FROM a\nCOPY ${A /x/\n", "line 2: failed to process"),
        ("FROM a\nCOPY a\0b /x/\n", "it holds a NUL byte"),
        ('FROM a\nCOPY "a b" /x/\n', "line 2: a name with a blank needs the JSON form, COPY"),
        ("FROM a\nADD a\\ b /x/\n", "line 2: a name with a blank needs the JSON form, ADD"),
        ("FROM a\nARG A=1\nARG A\nCOPY $A /x/\n", "line 4: COPY $A: the Dockerfile does not set"),
    ],
)
def test_a_syntax_error_names_its_line(text: str, cause: str) -> None:
    failure = parse_dockerfile(text)

    assert isinstance(failure, Failure)
    assert failure.kind is Kind.DOCKERFILE_SYNTAX
    assert cause in failure.cause


def test_the_last_rule_that_matches_decides() -> None:
    rules = IgnoreRules("\ufefftarget\n# a comment\n!target/release/app\n*.log\n")

    assert [rules.ignores(path) for path in ("target/x", "target/release/app", "a.log", ".")] == [
        True,
        False,
        True,
        False,
    ]
    assert rules.readmits_below("target")
    assert rules.rule_for("target/x") == "target"


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("mcp-*", "mcp-a", True),
        ("*", ".hidden", True),
        ("[!a]*", "b", False),  # the engine negates with ^
        ("[^a]*", "b", True),
        ("!*", "!x", True),
        ("**a*", "xay", True),
        ("**", "x", True),
        ("\\**", "*x", True),
        ("\\**", "xx", False),
        ("#*", "#x", True),
        ("a?", "abc", False),
    ],
)
def test_names_match_as_the_engine_matches_them(pattern: str, name: str, matches: bool) -> None:
    assert name_matcher(pattern)(name) is matches
