"""Streams that may be gone, and whether to colour."""

import io
import os
from collections.abc import Mapping

import pytest

from deployer.cli.output import Out, Style, wants_colour


@pytest.mark.parametrize(
    ("choice", "environ", "terminal", "colour"),
    [
        ("auto", {"TERM": "xterm"}, True, True),
        ("auto", {"TERM": "xterm"}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {}, True, False),
        ("auto", {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ("auto", {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1", "TERM": "xterm"}, True, False),
    ],
)
def test_the_flag_decides_then_no_color_force_color_and_term(
    choice: str, environ: Mapping[str, str], *, terminal: bool, colour: bool
) -> None:
    assert wants_colour(choice, environ, terminal=terminal) is colour


def test_colours_surround_a_line_and_change_no_word() -> None:
    plain, painted = io.StringIO(), io.StringIO()
    Out(plain).line("words", Style.BAD)
    out = Out(painted)
    out.decide_colour("always", {})
    out.line("words", Style.BAD)
    out.line("words")

    assert plain.getvalue() == "words\n"
    assert painted.getvalue() == "\x1b[1;31mwords\x1b[0m\nwords\n"


def test_a_stream_that_fails_once_is_left_alone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        out = Out(stream)
        out.line("nobody reads this")
        out.line("nor this")

        assert (out.alive, out.used) == (False, False)


def test_a_missing_stream_is_silent() -> None:
    out = Out(None)
    out.line("words")

    assert (out.alive, out.terminal) == (False, False)


def test_what_a_stream_cannot_encode_becomes_a_question_mark() -> None:
    raw = io.BytesIO()
    out = Out(io.TextIOWrapper(raw, encoding="ascii"))
    out.line("✓ done · \udcff")

    assert raw.getvalue() == b"? done ? ?\n"
    assert out.alive
