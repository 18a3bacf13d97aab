"""Appended lines: the heartbeat, the groups, and foreign text in them."""

import io
from dataclasses import dataclass

from deployer.cli.output import Out
from deployer.cli.plain import PlainLines
from deployer.events import (
    Body,
    Event,
    OutputLine,
    Progress,
    Retrying,
    StateEntered,
    StateFinished,
    Waiting,
    Warned,
)
from deployer.names import RunId
from deployer.run import Facts
from deployer.states.flow import State


@dataclass
class Hand:
    """A clock that is moved by hand."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """A display on a string."""

    def __init__(self, *, verbose: bool = False, grouped: bool = False) -> None:
        self.clock = Hand()
        self._text = io.StringIO()
        self.display = PlainLines(Out(self._text), self.clock, verbose=verbose, grouped=grouped)

    def tell(self, body: Body, state: State = State.PUSHING) -> None:
        self.display.event(
            Event(run=RunId("r"), tenant="t", at=0.0, state=state, seq=None, body=body)
        )

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now += 1
            self.display.tick(0.0)

    @property
    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()


def layer(name: str, done: int, total: int) -> Progress:
    return Progress(what=name, done=done, total=total, unit="bytes")


def test_progress_is_told_every_ten_seconds_and_never_more_often() -> None:
    shown = Lines()
    shown.tell(StateEntered(state=State.PUSHING))
    for done in range(1, 1001):
        shown.tell(layer("a", done * 1000, 1_000_000))
    shown.pass_time(35)

    assert len(shown.lines) == 1 + 3
    assert "1 MB of 1 MB" in shown.lines[1]
    assert shown.lines[1].endswith("(10s)")


def test_silence_is_never_longer_than_ten_seconds_even_before_the_first_state() -> None:
    shown = Lines()
    shown.pass_time(21)

    assert [line.split()[1] for line in shown.lines] == ["starting", "starting"]


def test_the_heartbeat_adds_the_layers_up_and_tells_rate_and_rest() -> None:
    shown = Lines()
    shown.tell(StateEntered(state=State.PUSHING))
    shown.tell(layer("a", 5_000_000, 5_000_000))
    shown.tell(layer("b", 15_000_000, 35_000_000))
    shown.pass_time(10)

    assert "1/2 layers · 20 MB of 40 MB · 2 MB/s · 10s left" in shown.lines[-1]


def test_the_heartbeat_names_what_is_awaited() -> None:
    shown = Lines()
    shown.tell(Waiting(what="the lock of target/", seconds=600))
    shown.pass_time(10)

    assert "waiting for the lock of target/, up to 10m00s" in shown.lines[0]
    assert "waiting for the lock of target/, up to 10m00s" in shown.lines[1]


def test_a_retry_is_told_at_once_with_its_cause() -> None:
    shown = Lines()
    shown.tell(Retrying(cause="503", attempt=2, tries=5, seconds=4.0))

    assert shown.lines[0].endswith("try 2 of 5 in 4.0s: 503")


def test_a_new_state_forgets_the_old_one_s_progress() -> None:
    shown = Lines()
    shown.tell(Progress(what="crates", done=3, total=9))
    shown.tell(StateEntered(state=State.IMAGING))
    shown.pass_time(10)

    assert "crates" not in shown.lines[-1]


def test_tool_output_is_shown_with_v_only() -> None:
    quiet, loud = Lines(), Lines(verbose=True)
    for shown in (quiet, loud):
        shown.tell(OutputLine(source="cargo", text="Compiling core"))

    assert quiet.lines == []
    assert loud.lines[0].endswith("cargo| Compiling core")


def test_a_finished_state_closes_its_group() -> None:
    shown = Lines(grouped=True)
    shown.tell(StateEntered(state=State.BUILDING))
    shown.tell(StateFinished(state=State.BUILDING, seconds=1, facts=Facts()), State.IMAGING)
    shown.display.close()

    assert shown.lines[0] == "::group::deployer: building"
    assert shown.lines[-1] == "::endgroup::"
    assert shown.lines.count("::endgroup::") == 1


def test_foreign_text_cannot_command_the_runner() -> None:
    shown = Lines(grouped=True, verbose=True)
    shown.tell(OutputLine(source="cargo", text="::add-mask::x"))
    shown.tell(Warned(text="##[add-mask]x"))

    assert not any(line.lstrip().startswith("::") or "##[" in line for line in shown.lines)
