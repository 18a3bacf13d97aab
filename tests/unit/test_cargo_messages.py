"""cargo's lines, good and bad."""

import json
from pathlib import Path

import pytest

from deployer.adapters.cargo.messages import (
    Artifact,
    Target,
    awaited_lock,
    bar_total,
    is_bar,
    package_name,
    parse,
)
from deployer.adapters.cargo.transcript import READ_MAX, LockAwaited, Named, Transcript
from deployer.events import OutputLine, Progress

ARTIFACT = {
    "reason": "compiler-artifact",
    "package_id": "path+file:///p/core#systemprompt@0.1.0",
    "target": {"kind": ["bin"], "name": "systemprompt", "new": 1},
    "executable": "/p/target/release/systemprompt",
    "fresh": True,
    "new": {},
}


def line(**changes: object) -> bytes:
    return json.dumps(ARTIFACT | changes).encode()


def test_an_artifact_is_read_and_what_is_new_in_it_passed_by() -> None:
    assert parse(line()) == Artifact(
        package_id="path+file:///p/core#systemprompt@0.1.0",
        target=Target(name="systemprompt", kind=("bin",)),
        executable="/p/target/release/systemprompt",
        fresh=True,
    )


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"warning: from a macro",
        b"{",
        b"[]",
        b'{"reason":"tomorrow"}',
        b'{"reason":"compiler-artifact"}',
        b'{"reason":"build-finished","success":"yes"}',
        b'{"reason":"build-finished","success":true,"x":' + b"[" * 100_000,
        b'{"reason":"compiler-message","message":{"level":"error","message":"\xff"}}',
    ],
)
def test_a_line_that_is_no_message_is_none(foreign: bytes) -> None:
    assert parse(foreign) is None


@pytest.mark.parametrize(
    ("package_id", "name"),
    [
        ("path+file:///p/core#systemprompt@0.1.0", "systemprompt"),
        ("path+file:///p/system-tools#0.1.0", "system-tools"),
        ("path+file:///p/my%20tools#0.1.0", "my tools"),
        ("git+https://example.com/x.git?branch=a#y@1.0.0", "y"),
        ("systemprompt 0.1.0 (path+file:///p/core)", "systemprompt"),
    ],
)
def test_the_package_is_read_from_old_and_new_ids(package_id: str, name: str) -> None:
    assert package_name(package_id) == name


@pytest.mark.parametrize(
    ("bar", "total"),
    [
        ("    Building [=====>      ] 3/5: foo, bar(bin)        ", 5),
        ("    Building [            ] 0/1: systemprompt(bin)", 1),
        (" Downloading [==>         ] 12.5%", None),
    ],
)
def test_the_bar_tells_how_many_units_there_are(bar: str, total: int | None) -> None:
    assert is_bar(bar)
    assert bar_total(bar) == total


def test_prose_is_no_bar() -> None:
    assert not is_bar("   Compiling systemprompt v0.1.0 (/p/core)")


@pytest.mark.parametrize("what", ["artifact directory", "build directory", "package cache"])
def test_a_lock_that_another_cargo_holds_is_recognised(what: str) -> None:
    assert awaited_lock(f"    Blocking waiting for file lock on {what}") == what


def test_progress_counts_messages_against_the_bar() -> None:
    transcript = Transcript()

    events = [
        *transcript.hear_stderr(b"    Building [=> ] 0/2: a, b"),
        *transcript.hear_stdout(line()),
        *transcript.hear_stderr(b"    Building [=> ] 1/2: b"),
        *transcript.hear_stdout(b'{"reason":"build-script-executed","package_id":"b"}'),
    ]

    moves = [event for event in events if isinstance(event, Progress)]
    assert moves == [Progress(what="crates", done=done, total=2) for done in range(3)]


def test_a_warm_build_has_no_total() -> None:
    assert Progress(what="crates", done=1, total=None) in Transcript().hear_stdout(line())


def test_a_program_is_told_of_as_soon_as_cargo_names_it() -> None:
    named = Named(Path("/p/target/release/systemprompt"))

    assert named in Transcript().hear_stdout(line())
    assert named not in Transcript().hear_stdout(line(executable=None))


def test_foreign_lines_are_shown_without_their_control_characters() -> None:
    shown = [
        *Transcript().hear_stdout(b"\x1b[2J\x1b]0;pwned\x07from a macro\xff"),
        *Transcript().hear_stderr(b"\x1b[31merror\x1b[0m: x"),
    ]

    assert shown == [
        OutputLine(source="cargo", text="from a macro\ufffd"),
        OutputLine(source="cargo", text="error: x"),
    ]


def test_a_complaint_that_is_too_long_to_read_shows_where_it_was_cut() -> None:
    transcript = Transcript()

    list(transcript.hear_stderr(f"error: {'x' * READ_MAX}".encode()))

    complaint = transcript.evidence(1).complaint
    assert complaint is not None
    assert complaint.endswith("x…")
    assert len(complaint) == READ_MAX


def test_a_message_that_is_not_known_is_not_shown_as_output() -> None:
    assert not list(Transcript().hear_stdout(b'{"reason":"tomorrow","x":1}'))


def test_waiting_for_a_lock_is_shown_and_told() -> None:
    heard = list(Transcript().hear_stderr(b"    Blocking waiting for file lock on package cache"))

    assert heard == [
        OutputLine(source="cargo", text="Blocking waiting for file lock on package cache"),
        LockAwaited("package cache"),
    ]


def test_of_a_long_output_the_last_lines_are_kept() -> None:
    transcript = Transcript()

    for number in range(1000):
        list(transcript.hear_stderr(f"line {number}".encode()))

    assert transcript.tail == tuple(f"line {number}" for number in range(960, 1000))
