"""A whole sandbox for the session: private or existing engine, registry, Management API."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from deployer.sandbox.options import Contract, Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.programs import ensure_on_system
from deployer.sandbox.up import Sandbox, sandbox
from deployer.sandbox.workspace import sign_in, write_workspace

RUN_SECONDS = 240.0


@dataclass(frozen=True)
class Ran:
    """A command line that ended."""

    code: int
    stdout: str
    stderr: str


class Raised:
    """Sandboxes run in a thread of their own, so that a test may block or use a loop."""

    def __init__(self, portal: anyio.from_thread.BlockingPortal) -> None:
        self.portal = portal

    def no_faults(self, running: Sandbox) -> None:
        self.portal.call(running.faults.switch_off)

    def fault(self, running: Sandbox, name: str, count: int | None = None) -> None:
        self.portal.call(running.faults.switch_on, name, count)


@pytest.fixture(scope="session")
def raised() -> Iterator[Raised]:
    with anyio.from_thread.start_blocking_portal() as portal:
        yield Raised(portal)


@pytest.fixture(scope="session")
def sandbox_folder() -> Iterator[Path]:
    # Short, for the engine's socket; a folder of its own, for suites side by side.
    folder = Path(tempfile.mkdtemp(prefix="deployer-real-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sandbox_of_session(raised: Raised, sandbox_folder: Path) -> Iterator[Sandbox]:
    options = Options(
        cache=cache_root(os.environ),
        folder=sandbox_folder,
        environ=dict(os.environ),
        contract=Contract.OWN_TAG,
        base_port=0,
        faults={},
    )
    said: list[str] = []
    with raised.portal.wrap_async_context_manager(sandbox(options, said.append)) as running:
        yield running


@pytest.fixture(name="sandbox")
def sandbox_without_faults(raised: Raised, sandbox_of_session: Sandbox) -> Iterator[Sandbox]:
    """The session's sandbox; faults that a test switches on end with the test.

    Its ledger begins with the test: of two journals, runs of one commit within a second share a tag.
    """
    sandbox_of_session.ledger.write_text("")
    yield sandbox_of_session
    raised.no_faults(sandbox_of_session)


@pytest.fixture
def fault(raised: Raised, sandbox: Sandbox) -> Callable[..., None]:
    """Switch a fault on: `fault("push-401")` or `fault("push-503", 2)`."""

    def switch_on(name: str, count: int | None = None) -> None:
        raised.fault(sandbox, name, count)

    return switch_on


@pytest.fixture
def engine(sandbox: Sandbox) -> str:
    """The engine's endpoint, as in DOCKER_HOST."""
    return sandbox.engine


@pytest.fixture
def registry(sandbox: Sandbox) -> str:
    """`host:port` of the registry without login, faults and counting."""
    return sandbox.registry


@pytest.fixture(scope="session")
def built_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample project with a warm target folder; tests get copies."""
    project = tmp_path_factory.mktemp("built") / "project"
    manifests = ("core", "crates/system-tools", "extensions/mcp/infrastructure")

    async def make() -> None:
        await ensure_on_system("cargo", os.environ, lambda _line: None)
        await write_workspace(project, None, os.environ)
        for manifest in (*manifests, "extensions/mcp/admin"):
            path = f"{project / manifest}/Cargo.toml"
            argv = ["cargo", "build", "--quiet", "--release", "--offline", "--manifest-path", path]
            await anyio.run_process([*argv, "--target-dir", str(project / "target")])

    anyio.run(make)
    return project


@pytest.fixture
def workspace(built_project: Path, sandbox: Sandbox, tmp_path: Path) -> Path:
    """A fresh copy of the sample project, signed in to the sandbox."""
    project = tmp_path / "project"
    shutil.copytree(built_project, project, symlinks=True)
    sign_in(project, sandbox.api_url, sandbox.api_token)
    return project


@pytest.fixture
def deployer(sandbox: Sandbox, tmp_path: Path) -> Callable[..., Ran]:
    """Run the command line to its end: `deployer("deploy", cwd=workspace)`."""
    base = {**os.environ, **sandbox.environment(), "XDG_STATE_HOME": str(tmp_path / "state")}

    def run(*argv: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ran:
        async def go() -> Ran:
            with anyio.fail_after(RUN_SECONDS):
                done = await anyio.run_process(
                    [sys.executable, "-m", "deployer", *argv],
                    cwd=cwd,
                    env={**base, **(env or {})},
                    check=False,
                )
            return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

        return anyio.run(go)

    return run
