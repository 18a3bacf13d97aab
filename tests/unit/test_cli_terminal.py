"""What a terminal shows in the end, by an emulator."""

import io

import pyte
import pytest

from deployer.cli.output import Out
from deployer.cli.terminal import LiveLines
from deployer.events import (
    Body,
    Event,
    Progress,
    RunFailed,
    RunOpened,
    StateEntered,
    StateFinished,
    Warned,
)
from deployer.failures import Failure, Kind
from deployer.names import RunId
from deployer.run import Facts
from deployer.states.flow import State

COLUMNS = 80


class Terminal:
    """A display on an emulated terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, colour: bool = False) -> None:
        monkeypatch.setenv("COLUMNS", str(COLUMNS))
        monkeypatch.setenv("TERM", "xterm")
        self._text = io.StringIO()
        self.out = Out(self._text)
        self.now = 0.0
        self.display = LiveLines(self.out, lambda: self.now, colour=colour)

    def tell(self, body: Body) -> None:
        self.display.event(
            Event(run=RunId("r1"), tenant="t", at=0.0, state=State.PUSHING, seq=None, body=body)
        )
        self.display.tick(0.0)

    @property
    def screen(self) -> pyte.Screen:
        screen = pyte.Screen(COLUMNS, 24)
        pyte.Stream(screen).feed(self.text.replace("\n", "\r\n"))
        return screen

    @property
    def text(self) -> str:
        return self._text.getvalue()

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


def test_finished_states_stay_and_the_present_one_is_redrawn_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(monkeypatch)
    terminal.tell(RunOpened(state=State.BUILDING, tag="v1"))
    terminal.tell(StateEntered(state=State.BUILDING))
    for done in range(1, 50):
        terminal.tell(Progress(what="crates", done=done, total=49))
    terminal.tell(StateFinished(state=State.BUILDING, seconds=108, facts=Facts()))
    terminal.tell(StateEntered(state=State.IMAGING))
    terminal.now = 22.0
    terminal.display.tick(0.0)

    run, building, imaging = terminal.lines
    assert "r1 · v1" in run
    assert building.split() == ["✓", "building", "done", "1m48s"]
    assert "imaging" in imaging
    assert imaging.endswith("22s")


def test_closing_takes_the_live_line_away_and_gives_the_cursor_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(monkeypatch)
    terminal.tell(StateEntered(state=State.BUILDING))
    assert terminal.screen.cursor.hidden

    terminal.display.close()
    terminal.display.close()

    assert terminal.lines == []
    assert not terminal.screen.cursor.hidden


def test_a_failure_leaves_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    failure = Failure(phase=State.PUSHING, kind=Kind.REGISTRY_AUTH, cause="unauthorized")
    terminal.tell(RunFailed(state=State.PUSHING, failure=failure))
    terminal.display.close()

    assert terminal.lines[0].split() == ["✗", "pushing", "P01", "unauthorized"]


def test_foreign_text_is_no_markup_and_a_long_one_stays_on_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal(monkeypatch)
    terminal.tell(Warned(text="[red]not red[/red] :smile: " + "x" * 500))
    terminal.display.close()

    assert len(terminal.lines) == 1
    assert "[red]not red[/red] :smile:" in terminal.lines[0]


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, painted = Terminal(monkeypatch), Terminal(monkeypatch, colour=True)
    for terminal in (plain, painted):
        terminal.tell(StateFinished(state=State.BUILDING, seconds=1, facts=Facts()))

    assert "\x1b[3" not in plain.text
    assert "\x1b[32m" in painted.text


def test_the_echo_of_ctrl_c_leaves_no_litter(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    terminal.tell(StateEntered(state=State.PUSHING))
    terminal.out.write("^C")  # the terminal itself does this
    terminal.display.note("stopping")
    terminal.display.close()

    assert [line.split() for line in terminal.lines] == [["!", "signal", "stopping"]]


def test_a_terminal_that_is_gone_does_not_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    terminal.out.silence()

    terminal.tell(StateEntered(state=State.BUILDING))
    terminal.display.close()

    assert not terminal.out.alive
