"""Secrets in a whole run, searched for wherever they could have got to; and that the search sees."""

import base64
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import aiodocker
import anyio
import pytest

from deployer.sandbox.options import TENANTS
from deployer.sandbox.up import Sandbox
from tests.real.commands import CommandLine

pytestmark = pytest.mark.real

PASSWORD = "canary-4f1d7c9a2e"
DATABASE_URL = f"postgres://app:{PASSWORD}@127.0.0.1:1/app"
# A build script prints what it knows, and cargo repeats it.
TELLS = (
    'fn main() { println!("cargo:warning=using {}", std::env::var("DATABASE_URL").unwrap()); }\n'
)
TENANT = TENANTS[0]
SAMPLE_SECONDS = 0.02
LONGEST = 4096  # bytes; more than any spelling of any canary


@dataclass
class Traces:
    """All that a run left or showed, by channel; searched as it comes, for layers are large."""

    canaries: tuple[bytes, ...]
    code: int = 0
    said: bytes = b""  # on stderr
    ends: dict[str, bytes] = field(default_factory=dict)  # each channel's last bytes
    leaks: set[str] = field(default_factory=set)  # the channels that hold a canary

    def add(self, channel: str, content: bytes) -> None:
        """Search `content`, and what it makes with the end of what came before."""
        seen = self.ends.get(channel, b"") + content
        if any(spelled in seen for canary in self.canaries for spelled in spellings(canary)):
            self.leaks.add(channel)
        self.ends[channel] = seen[-LONGEST:]
        if channel == "stderr":
            self.said += content


def spellings(canary: bytes) -> tuple[bytes, ...]:
    encoded = base64.b64encode(canary).rstrip(b"=")
    return canary, quote(canary.decode(), safe="").encode(), encoded, canary.hex().encode()


async def traced(cli: CommandLine, sandbox: Sandbox, *argv: str) -> Traces:
    """Run a command line with all that it starts sampled, and collect what it left."""
    # "FlyV1-" begins each password that the registry was made to accept.
    canaries = (PASSWORD.encode(), sandbox.api_token.encode(), b"FlyV1-")
    traces = Traces(canaries)
    older = await _images(sandbox)
    command = [sys.executable, "-m", "deployer", *argv]
    async with (
        await anyio.open_process(command, cwd=cli.project, env=cli.env) as child,
        anyio.create_task_group() as group,
    ):
        group.start_soon(_sample, child.pid, traces)
        async with anyio.create_task_group() as readers:
            readers.start_soon(_collect, child.stdout, "stdout", traces)
            readers.start_soon(_collect, child.stderr, "stderr", traces)
        traces.code = await child.wait()
        group.cancel_scope.cancel()
    _journal(Path(cli.env["XDG_STATE_HOME"]), traces)
    await _image(sandbox, traces, await _images(sandbox) - older)
    return traces


def _journal(folder: Path, traces: Traces) -> None:
    """The database with its log and its free pages, and whatever else lies beside it."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            traces.add("journal", file.read_bytes())


async def _collect(stream: object, channel: str, traces: Traces) -> None:
    async for chunk in stream:  # type: ignore[attr-defined]
        traces.add(channel, chunk)


async def _sample(root: int, traces: Traces) -> None:
    while True:
        for pid in _descendants(root):
            argv, environ = _read(pid, "cmdline"), _read(pid, "environ")
            traces.add("argv", argv)
            # Between fork and exec a child still shows what its parent was started with.
            if argv != _read(root, "cmdline"):
                # cargo and what it starts are given the database's URL, and nothing else.
                kept = [
                    line for line in environ.split(b"\0") if not line.startswith(b"DATABASE_URL=")
                ]
                traces.add("environment", b"\0".join(kept))
        await anyio.sleep(SAMPLE_SECONDS)


def _descendants(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        status = _read(int(folder.name), "stat").rpartition(b")")[2].split()
        if status:
            parents[int(folder.name)] = int(status[1])
    family = {root}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return sorted(family)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


async def _images(sandbox: Sandbox) -> set[str]:
    """The images that the engine has of the tenant."""
    async with aiodocker.Docker(sandbox.engine) as engine:
        return {
            image["Id"]
            for image in await engine.images.list()
            for name in image.get("RepoTags") or ()
            if TENANT.app in name or TENANT.id in name
        }


async def _image(sandbox: Sandbox, traces: Traces, images: set[str]) -> None:
    """Configuration, history and all layers of what the engine kept of the run."""
    async with aiodocker.Docker(sandbox.engine) as engine:
        for image in images:
            traces.add("image", str(await engine.images.inspect(image)).encode())
            traces.add("image", str(await engine.images.history(image)).encode())
            async with engine.images.export_image(image) as exported:
                async for piece in exported.iter_chunked(1 << 20):
                    traces.add("layers", piece)


@pytest.fixture
def cli(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> CommandLine:
    """The command line with a canary for the database's password."""
    env = {
        **os.environ,
        **sandbox.environment(),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "DATABASE_URL": DATABASE_URL,
        "CARGO_REGISTRY_TOKEN": PASSWORD,
        "DOCKER_AUTH_CONFIG": PASSWORD,
    }
    (workspace / "core/build.rs").write_text(TELLS)
    return CommandLine(workspace, env)


def docker_files() -> Mapping[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (Path.home() / ".docker").rglob("*")
        if path.is_file()
    }


def test_no_secret_gets_anywhere_in_a_whole_run(cli: CommandLine, sandbox: Sandbox) -> None:
    before = docker_files()

    traces = anyio.run(traced, cli, sandbox, "deploy", "-vv")

    assert traces.code == 0, traces.said.decode()
    assert b"using postgres" in traces.said or b"using ***" in traces.said
    assert traces.leaks == set()
    assert docker_files() == before
    # Each of them would have been seen, in the middle of two pieces as well.
    expected = {"stderr", "stdout", "journal", "argv", "environment", "image", "layers"}
    assert set(traces.ends) == expected
    for channel in expected:
        for canary in traces.canaries:
            planted = Traces(traces.canaries, ends=dict(traces.ends))
            planted.add(channel, b"... " + canary[:3])
            planted.add(channel, canary[3:] + b" ...")
            assert planted.leaks == {channel}


@pytest.mark.parametrize(
    "name",
    [
        *("token-401", "registry-wrong-password", "push-401", "manifest-500"),
        *("deploy-update-failed", "deploy-lost-answer"),
    ],
)
def test_no_secret_gets_anywhere_in_a_failure(
    cli: CommandLine, sandbox: Sandbox, fault: Callable[..., None], name: str
) -> None:
    fault(name)
    quick = ("--wait-timeout", "2s")

    traces = anyio.run(traced, cli, sandbox, "deploy", "-vv", "--json", *quick)

    assert traces.leaks == set()


def test_a_program_that_holds_the_password_is_never_pushed(
    cli: CommandLine, sandbox: Sandbox
) -> None:
    source = cli.project / "core/src/main.rs"
    shown = 'if env::var_os("SHOW_URL").is_some() { println!("{}", env!("DATABASE_URL")); }'
    source.write_text(
        source.read_text().replace(
            "-> std::io::Result<()> {\n    unsafe", f"-> std::io::Result<()> {{ {shown} unsafe", 1
        )
    )

    stopped = cli("deploy")

    assert stopped.code == 10
    assert stopped.failure["id"] == "B17"
    assert PASSWORD not in str(stopped)
    assert "imaging" not in {
        phase["state"] for phase in stopped.document["phases"] if phase["entered"]
    }


def test_a_dockerfile_that_holds_the_password_is_never_pushed(
    cli: CommandLine, sandbox: Sandbox
) -> None:
    dockerfile = cli.project / ".systemprompt/Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + f"ENV DATABASE_URL={DATABASE_URL}\n")

    stopped = cli("deploy")

    assert stopped.failure["id"] == "I23"
    assert stopped.code == 11
    assert PASSWORD not in str(stopped)
