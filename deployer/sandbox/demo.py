"""The whole story on one machine: deploy, change, deploy again, roll back. All of it real."""

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import anyio

from deployer.sandbox.options import TENANTS, Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.programs import ensure_on_system
from deployer.sandbox.refusal import Say
from deployer.sandbox.up import Sandbox, sandbox
from deployer.sandbox.workspace import VERSION_FILE, commit, set_version, write_workspace

FIRST: Final = "1.0.0"
SECOND: Final = "2.0.0"
STEP_SECONDS: Final = 600.0
_CHECKED: Final = re.compile(r"checked (sha256:[0-9a-f]{64})")


class _Unexpected(Exception):  # noqa: N818  # the story did not go as told
    """A step of the demo did not end as it should."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where the story takes place."""

    project: Path
    url: str
    env: Mapping[str, str]
    say: Say
    runs: bool  # containers; where there is no engine the image is only checked
    seen: dict[str, str] = field(default_factory=dict)  # version -> the digest that was checked

    async def run(self, *words: str) -> None:
        """Run the real command line in the project, on the user's terminal."""
        self.say(f"$ deployer {' '.join(words)}")
        argv = [sys.executable, "-m", "deployer", *words]
        with anyio.move_on_after(STEP_SECONDS):
            done = await anyio.run_process(
                argv, cwd=self.project, env=self.env, check=False, stdout=None, stderr=None
            )
            if done.returncode == 0:
                return
            raise _Unexpected(f"`deployer {words[0]}` ended with exit code {done.returncode}")
        raise _Unexpected(f"`deployer {words[0]}` took longer than {STEP_SECONDS:.0f} s")

    async def expect(self, version: str) -> None:
        """Ask the tenant's public URL which version answers."""
        try:
            async with aiohttp.ClientSession() as client, client.get(self.url) as answer:
                body = (await answer.text()).strip()
        except aiohttp.ClientError as error:
            raise _Unexpected(f"{self.url} does not answer: {error}") from error
        self.say(f"$ curl {self.url}\n{body}")
        if not self.runs:
            self._expect_image(version, body)
        elif answer.status != 200 or body != f"systemprompt {version}":  # noqa: PLR2004
            raise _Unexpected(f"expected version {version} at {self.url}")

    def _expect_image(self, version: str, page: str) -> None:
        """Each version is an image of its own, and the same one whenever it is deployed."""
        found = _CHECKED.search(page)
        if found is None:
            raise _Unexpected(f"no image was checked at {self.url}")
        others = {digest for name, digest in self.seen.items() if name != version}
        if found[1] in others or self.seen.setdefault(version, found[1]) != found[1]:
            raise _Unexpected(f"expected the image of version {version} at {self.url}")


async def play(
    environ: Mapping[str, str], say: Say, *, keep: bool = False, no_engine: bool = False
) -> int:
    """Play the story; 0 if every answer was the expected one. Raises Refused."""
    cache = cache_root(environ)
    options = Options(
        cache=cache,
        folder=cache / "demo",
        environ=environ,
        base_port=0,
        faults={},
        no_engine=no_engine,
    )
    home = Path(tempfile.mkdtemp(prefix="deployer-demo-"))
    try:
        _heading(say, "A sandbox: Management API, registry and Fly machine on this computer")
        await ensure_on_system("cargo", environ, say)
        async with sandbox(options, say) as running:
            await _story(await _stage(running, home, environ, say))
    except _Unexpected as unexpected:
        say(f"\nThe demo failed: {unexpected}")
        return 1
    finally:
        if not keep:
            shutil.rmtree(home, ignore_errors=True)
    say("\nAll answers were as expected. Nothing is left running.")
    if keep:
        say(f"The sample project is in {home / 'project'}")
    return 0


async def _stage(running: Sandbox, home: Path, environ: Mapping[str, str], say: Say) -> _Stage:
    project = home / "project"
    await write_workspace(project, running, environ)
    # The demo's runs have no place in the user's own history.
    env = {**environ, **running.environment(), "XDG_STATE_HOME": str(home / "state")}
    say(f"Sample project: {project}")
    return _Stage(project, running.urls[TENANTS[0].id], env, say, runs=bool(running.engine))


async def _story(stage: _Stage) -> None:
    say = stage.say
    _heading(say, f"Deploy version {FIRST}")
    await stage.run("deploy")
    await stage.expect(FIRST)
    _heading(say, f"Change a line of code, commit, and deploy version {SECOND}")
    set_version(stage.project, SECOND)
    say(f"{VERSION_FILE}: {(stage.project / VERSION_FILE).read_text().strip()}")
    await commit(stage.project, f"Answer as {SECOND}", stage.env)
    await stage.run("deploy")
    await stage.expect(SECOND)
    _heading(say, f"Roll back to {FIRST}: nothing is compiled, built or pushed")
    await stage.run("rollback", "--yes")
    await stage.expect(FIRST)
    _heading(say, "What happened")
    await stage.run("history")


def _heading(say: Say, text: str) -> None:
    say(f"\n== {text}")
