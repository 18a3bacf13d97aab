"""Whole deploys with real cargo, a real engine and a real registry."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import anyio
import pytest

from deployer.sandbox.options import Contract, Options
from deployer.sandbox.places import cache_root
from deployer.sandbox.up import Sandbox, sandbox
from deployer.sandbox.workspace import set_version, sign_in
from tests.real.commands import CommandLine, Ended
from tests.real.conftest import Raised

pytestmark = pytest.mark.real

TENANT = "ten-abc123"
WORKING = ("building", "imaging", "authenticating", "pushing", "deploying")


@pytest.fixture
def cli(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> CommandLine:
    """The command line in a fresh project, with a journal of its own."""
    env = {**os.environ, **sandbox.environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    env.pop("DATABASE_URL", None)
    return CommandLine(workspace, env)


def executed(sandbox: Sandbox, image: str | None) -> int:
    """How often the sandbox really deployed this image."""
    rows = [json.loads(line) for line in sandbox.ledger.read_text().splitlines()]
    return sum(row["image"] == image for row in rows)


def entered(ended: Ended) -> dict[str, int]:
    return {phase["state"]: phase["entered"] for phase in ended.document["phases"]}


def assert_done(ended: Ended) -> None:
    assert (ended.code, ended.document["state"]) == (0, "done"), (ended.document, ended.talk)


def answer(url: str) -> str:
    async def get() -> str:
        import aiohttp  # noqa: PLC0415  # only here

        async with aiohttp.ClientSession() as client, client.get(url) as got:
            return (await got.text()).strip()

    return anyio.run(get)


# -- A deploy, another one, and back


def test_each_deployed_version_answers_and_a_rollback_brings_the_first_one_back(
    cli: CommandLine, sandbox: Sandbox
) -> None:
    set_version(cli.project, "1.0.0")
    first = cli("deploy")
    assert_done(first)
    assert answer(first.document["url"]) == "systemprompt 1.0.0"
    set_version(cli.project, "2.0.0")
    second = cli("deploy")
    assert_done(second)
    assert answer(second.document["url"]) == "systemprompt 2.0.0"

    back = cli("rollback", "--yes")

    assert_done(back)
    assert answer(back.document["url"]) == "systemprompt 1.0.0"
    assert back.document["digest"] == first.document["digest"] != second.document["digest"]
    history = cli("history").document["runs"]
    assert [row["outcome"] for row in history] == ["succeeded"] * 3


def test_skip_push_works_with_cargo_gone_and_the_engine_stopped(
    cli: CommandLine, sandbox: Sandbox, tmp_path: Path
) -> None:
    first = cli("deploy")
    assert_done(first)
    tag = first.document["image"].rpartition(":")[2]
    bare = tmp_path / "bin"
    bare.mkdir()
    git = shutil.which("git")
    assert git is not None
    (bare / "git").symlink_to(git)
    env = {**cli.env, "PATH": str(bare), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}

    again = CommandLine(cli.project, env)("deploy", "--skip-push", "--tag", tag)

    assert_done(again)
    assert again.document["digest"] == first.document["digest"]
    assert executed(sandbox, first.document["image"]) == 2
    assert entered(again) == dict.fromkeys(WORKING[:-1], 0) | {"deploying": 1}


@pytest.mark.parametrize(
    ("host", "argv"), [("unix:///nobody", ()), (None, ("--builder", "direct"))], ids=str
)
def test_a_deploy_without_an_engine_imports_no_client_of_one_and_no_log(
    cli: CommandLine, host: str | None, argv: tuple[str, ...]
) -> None:
    env = {**cli.env, **({"DOCKER_HOST": host} if host else {}), "PYTHONPROFILEIMPORTTIME": "1"}

    ended = CommandLine(cli.project, env)("deploy", *argv)

    assert_done(ended)
    imported = {line.rpartition("|")[2].strip() for line in ended.talk.splitlines()}
    assert "deployer.adapters.direct.builder" in imported
    assert imported.isdisjoint({"aiodocker", "aiohttp", "rich", "structlog"})


def test_the_direct_builder_sends_layers_while_cargo_still_runs(
    cli: CommandLine, sandbox: Sandbox
) -> None:
    set_version(cli.project, f"ahead-{os.urandom(4).hex()}")  # something to compile
    page = cli.project / "core/web/dist/page.html"
    page.write_text(os.urandom(4).hex())  # and something that needs no cargo
    before: list[str] = []
    forget_requests(sandbox)

    ended = cli(
        *("deploy", "--builder", "direct"), when={"imaging": lambda: before.extend(sent(sandbox))}
    )

    assert_done(ended)
    assert "PATCH" in before
    assert "PUT manifest" not in before
    layers = (cli.project / ".systemprompt/Dockerfile").read_text().count(
        "\nCOPY "
    ) + 1  # the base's
    assert sent(sandbox).count("PATCH") <= layers  # none is sent twice
    assert executed(sandbox, ended.document["image"]) == 1


def test_an_unchanged_project_is_neither_built_nor_pushed_again_by_an_engine(
    cli: CommandLine, sandbox: Sandbox
) -> None:
    first = cli("deploy", "--builder", "engine")
    assert_done(first)
    forget_requests(sandbox)

    second = cli("deploy", "--builder", "engine", "--new", "-v")

    assert_done(second)
    assert "nothing changed since" in second.talk
    assert second.document["digest"] == first.document["digest"]
    assert second.document["image"] != first.document["image"]
    # An engine that pushes asks for each layer.
    assert {"HEAD", "PATCH"}.isdisjoint(sent(sandbox))
    assert sent(sandbox).count("PUT manifest") == 1
    assert executed(sandbox, second.document["image"]) == 1


def forget_requests(sandbox: Sandbox) -> None:
    request = Request(f"{sandbox.api_url}/__sandbox/log", method="DELETE")  # loopback
    urlopen(request).close()


def sent(sandbox: Sandbox) -> list[str]:
    """What the registry was asked since `forget_requests`, in order."""
    with urlopen(f"{sandbox.api_url}/__sandbox/log") as answer:  # loopback
        requests = json.load(answer)["requests"]
    return [
        f"{each['method']} manifest" if "/manifests/" in each["path"] else each["method"]
        for each in requests
        if each["where"] == "registry"
    ]


# -- Each of the document's seven errors, provoked for real


def fails(ended: Ended, failure: str, resolution: str, state: str, code: int) -> None:
    shown = ended.failure
    assert (shown["id"], shown["resolution"]) == (failure, resolution), ended.document
    assert (ended.document["failed_in"], ended.code) == (state, code)
    assert resolution in ended.talk
    assert ended.document["resume"] == f"deployer resume {ended.run}"


def resumes(cli: CommandLine, failed: Ended, sandbox: Sandbox) -> Ended:
    """Resume after the remedy: Done, the states finished before are not entered again."""
    ended = cli("resume")
    assert_done(ended)
    assert ended.run == failed.run
    assert executed(sandbox, ended.document["image"]) == 1
    return ended


def test_compilation_error(cli: CommandLine, sandbox: Sandbox) -> None:
    source = cli.project / "core/src/main.rs"
    good = source.read_text()
    source.write_text(good + '\nfn broken() -> u32 { "text" }\n')

    failed = cli("deploy")

    fails(failed, "B01", "Fix code, re-run", "building", 10)
    assert "E0308" in json.dumps(failed.failure)
    source.write_text(good)
    resumes(cli, failed, sandbox)


def test_missing_database_url(cli: CommandLine, sandbox: Sandbox) -> None:
    source = cli.project / "core/src/main.rs"
    source.write_text(source.read_text() + '\nconst _URL: &str = env!("DATABASE_URL");\n')
    offline = CommandLine(cli.project, {**cli.env, "SQLX_OFFLINE": "true"})
    tenants = cli.project / ".systemprompt/tenants.json"
    with_local_tenant = tenants.read_text()
    known = json.loads(with_local_tenant)
    known["tenants"] = [row for row in known["tenants"] if row["tenant_type"] != "local"]
    tenants.write_text(json.dumps(known))

    failed = offline("deploy")

    fails(failed, "B02", "Ensure local tenant exists", "building", 10)
    tenants.write_text(with_local_tenant)
    resumes(cli, failed, sandbox)


def test_a_database_url_that_is_nowhere_is_missed_before_the_compile(cli: CommandLine) -> None:
    tenants = cli.project / ".systemprompt/tenants.json"
    known = json.loads(tenants.read_text())
    known["tenants"] = [row for row in known["tenants"] if row["tenant_type"] != "local"]
    tenants.write_text(json.dumps(known))

    refused = cli("deploy")

    assert refused.code == 3
    assert refused.failure["resolution"] == "Ensure local tenant exists"
    assert refused.document["run"] is None


def test_binary_not_found(cli: CommandLine, sandbox: Sandbox) -> None:
    extra = cli.project / "target/release/extra"
    extra.write_text("made by another build")
    dockerfile = cli.project / ".systemprompt/Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "COPY target/release/extra /app/\n")
    ignore = cli.project / ".dockerignore"
    ignore.write_text(ignore.read_text() + "\n!target/release/extra\n")

    failed = cli("deploy", when={"building": extra.unlink})

    fails(failed, "I03", "Run `just build --release`", "imaging", 11)
    extra.write_text("made again")
    resumes(cli, failed, sandbox)


def test_web_dist_not_found(cli: CommandLine, sandbox: Sandbox) -> None:
    dist = cli.project / "core/web/dist"

    failed = cli("deploy", when={"building": lambda: dist.rename(dist.with_name("gone"))})

    fails(failed, "I04", "Run `npm run build`", "imaging", 11)
    dist.with_name("gone").rename(dist)
    ended = resumes(cli, failed, sandbox)
    assert entered(ended)["building"] == 1


def test_a_web_dist_that_is_not_there_is_missed_before_the_compile(cli: CommandLine) -> None:
    shutil.rmtree(cli.project / "core/web/dist")

    refused = cli("deploy")

    assert refused.code == 3
    assert refused.failure["resolution"] == "Run `npm run build`"


def test_auth_failure(
    cli: CommandLine, sandbox: Sandbox, fault: Callable[..., None], raised: Raised
) -> None:
    failed = cli("deploy", when={"imaging": lambda: fault("registry-wrong-password")})

    fails(failed, "P01", "Check credentials, re-login", "pushing", 13)
    raised.no_faults(sandbox)
    ended = resumes(cli, failed, sandbox)
    assert (entered(ended)["building"], entered(ended)["imaging"]) == (1, 1)


def test_image_not_found(
    cli: CommandLine, sandbox: Sandbox, fault: Callable[..., None], raised: Raised
) -> None:
    fault("deploy-image-not-found")

    failed = cli("deploy")

    fails(failed, "D04", "Ensure push completed", "deploying", 14)
    raised.no_faults(sandbox)
    ended = resumes(cli, failed, sandbox)
    assert (entered(ended)["building"], entered(ended)["imaging"]) == (1, 1)


def test_a_tag_that_was_never_pushed(cli: CommandLine) -> None:
    failed = cli("deploy", "--skip-push", "--tag", "deploy-1-0000000")

    fails(failed, "D04", "Ensure push completed", "deploying", 14)


@pytest.mark.parametrize("name", ["deploy-update-failed", "deploy-status-failed"])
def test_machine_update_failed(
    cli: CommandLine,
    sandbox: Sandbox,
    fault: Callable[..., None],
    raised: Raised,
    name: str,
) -> None:
    fault(name)

    failed = cli("deploy")

    fails(failed, "D08", "Check Fly.io status", "deploying", 14)
    raised.no_faults(sandbox)
    ended = resumes(cli, failed, sandbox)
    assert (entered(ended)["building"], entered(ended)["pushing"]) == (1, 1)


# -- Killed in each state


@pytest.mark.parametrize("state", WORKING)
def test_killed_in_a_state_and_resumed_it_is_deployed_exactly_once(
    cli: CommandLine, sandbox: Sandbox, state: str
) -> None:
    cli.killed_in(state, "deploy")
    stood = cli("status").document["last"]

    ended = cli("resume")

    assert stood["state"] == state, stood
    assert_done(ended)
    assert ended.run == stood["run"]
    assert executed(sandbox, ended.document["image"]) == 1


# -- Both contracts


@pytest.fixture(scope="module")
def server_tag(raised: Raised, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A second sandbox, whose server names the tag."""
    options = Options(
        cache=cache_root(os.environ),
        folder=tmp_path_factory.mktemp("s"),
        environ=dict(os.environ),
        contract=Contract.SERVER_TAG,
        base_port=0,
        faults={},
    )
    said: list[str] = []
    with raised.portal.wrap_async_context_manager(sandbox(options, said.append)) as running:
        yield running


@pytest.fixture
def other(server_tag: Sandbox, workspace: Path, tmp_path: Path) -> CommandLine:
    sign_in(workspace, server_tag.api_url, server_tag.api_token)
    env = {**os.environ, **server_tag.environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    return CommandLine(workspace, env)


def test_the_server_s_tag_is_deployed_and_an_older_digest_is_put_back_under_it(
    other: CommandLine, server_tag: Sandbox
) -> None:
    set_version(other.project, "1.0.0")
    first = other("deploy")
    set_version(other.project, "2.0.0")
    second = other("deploy")
    back = other("rollback", "--yes")

    for ended in (first, second, back):
        assert_done(ended)
        assert ended.document["image"].endswith(f"/systemprompt-images:tenant-{TENANT}")
    assert answer(back.document["url"]) == "systemprompt 1.0.0"
    assert back.document["digest"] == first.document["digest"]


def test_a_foreign_tag_is_refused_before_the_compile(other: CommandLine) -> None:
    refused = other("deploy", "--tag", "v1.0.0")

    assert refused.code == 3
    assert f"tenant-{TENANT}" in refused.failure["cause"]
    assert refused.document["run"] is None


# -- What the engine gets


def test_the_engine_receives_only_what_copy_names_and_no_secret(
    cli: CommandLine, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (cli.project / "target/release/deps/huge.rlib").open("wb") as big:
        big.truncate(2_000_000_000)
    with (cli.project / ".git/huge.pack").open("wb") as big:
        big.truncate(200_000_000)
    canary = "canary-" + "7f3a" * 8
    profile = cli.project / ".systemprompt/profiles/prod"
    (profile / "secrets.json").write_text(json.dumps({"jwt_secret": canary}))
    (profile / "signing_key.pem").write_text(canary)
    (cli.project / ".env").write_text(f"KEY={canary}\n")
    dockerfile = cli.project / ".systemprompt/Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "COPY .systemprompt /app/systemprompt\n")
    sources = [
        *(cli.project / "target/release").glob("system*[!.d]"),
        *(cli.project / "core/web/dist").rglob("*"),
        *(cli.project / "services").rglob("*"),
        *(cli.project / ".systemprompt").rglob("*"),
    ]

    received = anyio.run(recorded_deploy, cli, sandbox, tmp_path)

    copied = sum(path.stat().st_size for path in sources if path.is_file())
    with capsys.disabled():
        sys.stdout.write(f" [the engine received {len(received)} bytes, COPY names {copied}] ")
    # A tar's headers and padding come to at most 2 kB a file, and the calls to a few more.
    assert len(received) < copied * 1.02 + 100_000
    assert canary.encode() not in received
    assert sandbox.api_token.encode() not in received


async def recorded_deploy(cli: CommandLine, sandbox: Sandbox, folder: Path) -> bytes:
    """Deploy through a relay before the engine, and return what went towards it."""
    received = bytearray()
    address = folder / "relay.sock"
    engine = sandbox.engine.removeprefix("unix://")

    async def relay(client: Any) -> None:
        server = await anyio.connect_unix(engine)
        async with client, server, anyio.create_task_group() as ways:

            async def there() -> None:
                # A client that has what it wanted may reset its connection.
                with contextlib.suppress(anyio.BrokenResourceError):
                    async for chunk in client:
                        received.extend(chunk)
                        await server.send(chunk)
                    await server.send_eof()

            async def back() -> None:
                with contextlib.suppress(anyio.BrokenResourceError):
                    async for chunk in server:
                        await client.send(chunk)
                ways.cancel_scope.cancel()

            ways.start_soon(there)
            ways.start_soon(back)

    listener = await anyio.create_unix_listener(address)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, relay)
        env = {**cli.env, "DOCKER_HOST": f"unix://{address}"}
        command = [sys.executable, "-m", "deployer", "deploy", "--json"]
        done = await anyio.run_process(command, cwd=cli.project, env=env, check=False)
        assert done.returncode == 0, done.stdout.decode()
        group.cancel_scope.cancel()
    return bytes(received)


# -- The document's recipe


def test_just_deploy_and_its_rollback(cli: CommandLine, sandbox: Sandbox) -> None:
    binaries = Path(sys.executable).parent
    env = {**cli.env, "PATH": f"{binaries}{os.pathsep}{cli.env['PATH']}"}

    async def just(*words: str) -> int:
        command = [str(binaries / "just"), *words]
        done = await anyio.run_process(command, cwd=cli.project, env=env, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.returncode

    assert anyio.run(just, "deploy") == 0
    (run,) = cli("history").document["runs"]
    tag = run["tag"]
    assert anyio.run(just, "deploy", "--skip-push", "--tag", tag) == 0
    assert executed(sandbox, run["image"]) == 2
