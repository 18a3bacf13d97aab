"""Runs the real command line as a child, and does things to it while it works."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.text import TextReceiveStream

RUN_SECONDS = 120.0


@dataclass(frozen=True)
class Ended:
    """A command that ended: its exit code, its one JSON document, and its talk."""

    code: int
    document: dict[str, Any]
    talk: str

    @property
    def run(self) -> str:
        run = self.document["run"]
        assert isinstance(run, str), self.document
        return run

    @property
    def failure(self) -> dict[str, Any]:
        failure = self.document["failure"]
        assert isinstance(failure, dict), self.document
        return failure


@dataclass(frozen=True)
class CommandLine:
    """`deployer` in a project, with an environment."""

    project: Path
    env: Mapping[str, str]
    prefix: tuple[str, ...] = ()  # a program that runs it

    def __call__(self, *argv: str, when: Mapping[str, Callable[[], object]] | None = None) -> Ended:
        """Run to the end; `when` maps a state to what happens as it begins."""
        ended: Ended = anyio.run(self._run, argv, when or {}, None)
        return ended

    def killed_in(self, state: str, *argv: str) -> Ended:
        """Run until `state` begins, then kill -9."""
        ended: Ended = anyio.run(self._run, argv, {}, state)
        assert ended.code == -signal.SIGKILL, ended
        return ended

    async def _run(
        self, argv: tuple[str, ...], when: Mapping[str, Callable[[], object]], kill_in: str | None
    ) -> Ended:
        command = [*self.prefix, sys.executable, "-m", "deployer", *argv, "--json"]
        talk: list[str] = []
        out: list[str] = []
        with anyio.fail_after(RUN_SECONDS):
            async with await anyio.open_process(command, cwd=self.project, env=self.env) as child:
                async with anyio.create_task_group() as readers:
                    readers.start_soon(_collect, child.stdout, out)
                    async for line in _lines(child.stderr):
                        talk.append(line)
                        for state, act in when.items():
                            if f"{state} " in line and "begins" in line:
                                act()
                        if kill_in and f"{kill_in} " in line and "begins" in line:
                            os.kill(child.pid, signal.SIGKILL)
                code = await child.wait()
        text = "".join(out)
        return Ended(code, json.loads(text) if text else {}, "\n".join(talk))


async def _collect(stream: Any, into: list[str]) -> None:
    async for text in TextReceiveStream(stream):
        into.append(text)  # noqa: PERF401  # it ends with the stream


async def _lines(stream: Any) -> Any:
    left = ""
    async for text in TextReceiveStream(stream):
        *whole, left = (left + text).split("\n")
        for line in whole:
            yield line
    if left:
        yield left


def processes_of(folder: Path) -> list[str]:
    """The command lines that name `folder`, without pytest's own."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in line and "-m pytest" not in line:
            found.append(line)
    return found
