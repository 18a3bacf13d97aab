"""Draw docs/run.svg: a real deploy that fails at the push, and its resume, as a terminal shows it."""

import fcntl
import io
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread
import pyte
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from deployer.sandbox.options import Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.up import Sandbox, sandbox
from deployer.sandbox.workspace import write_workspace

PICTURE: Final = Path(__file__).parents[1] / "docs/run.svg"
COLUMNS: Final = 100
ROWS: Final = 60
PROMPT: Final = "\x1b[1;32m$\x1b[0m "
# The names that pyte gives the eight colours, as SGR numbers.
_COLOURS: Final = {
    name: 30 + number
    for number, name in enumerate(
        ("black", "red", "green", "brown", "blue", "magenta", "cyan", "white")
    )
}


def shown(
    argv: tuple[str, ...],
    project: Path,
    env: Mapping[str, str],
    see: Callable[[list[str]], None] = lambda _lines: None,
) -> list[str]:
    """Run the command line in a terminal; the lines that stand there at the end, with colours.

    `see` is shown the plain lines each time something was written.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project)
        os.execve(sys.executable, [sys.executable, "-m", "deployer", *argv], dict(env))  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    while chunk := _read(terminal):
        stream.feed(chunk)
        see(screen.display)
    os.waitpid(child, 0)
    lines = [_line(screen, row) for row in range(ROWS)]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody holds the other end
        return b""


def _line(screen: pyte.Screen, row: int) -> str:
    line = ""
    for codes, run in groupby((screen.buffer[row][column] for column in range(COLUMNS)), _codes):
        text = "".join(char.data for char in run)
        line += f"\x1b[{codes}m{text}\x1b[0m" if codes and text.strip() else text
    return line.rstrip()


def _codes(char: pyte.screens.Char) -> str:
    codes = ["1"] if char.bold else []
    codes += [str(_COLOURS[char.fg])] if char.fg in _COLOURS else []
    return ";".join(codes)


def drawn(lines: list[str]) -> str:
    """The lines as an SVG picture that needs nothing from elsewhere."""
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)), no_wrap=True)
    svg = console.export_svg(title="deployer", theme=MONOKAI, unique_id="run")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


async def story(place: Sandbox, folder: Path) -> list[str]:
    """The engineer at six in the evening: compiled, imaged, and then the push is refused."""
    project = folder / "project"
    env = {**os.environ, **place.environment(), "XDG_STATE_HOME": str(folder), "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    await write_workspace(project, place, os.environ)

    def spoil(lines: list[str]) -> None:
        # Not sooner: the preflight would find it before the compile.
        if any(re.search(r"✓ +building", line) for line in lines):
            anyio.from_thread.run_sync(place.faults.switch_on, "push-401")

    first = await anyio.to_thread.run_sync(shown, ("deploy",), project, env, spoil)
    place.faults.switch_off()
    second = await anyio.to_thread.run_sync(shown, ("resume",), project, env)
    return [f"{PROMPT}deployer deploy", *first, "", f"{PROMPT}deployer resume", *second]


async def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory(prefix="deployer-picture-") as name:
        options = Options(
            cache=cache_root(os.environ),
            folder=Path(name) / "sandbox",
            environ=dict(os.environ),
            base_port=0,
            faults={},
        )
        async with sandbox(options, lambda line: sys.stderr.write(f"{line}\n")) as place:
            lines = await story(place, Path(name))
    PICTURE.write_text(drawn(lines))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    anyio.run(main)
