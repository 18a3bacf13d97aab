"""The sandbox with a real engine, a real registry and the real sample project."""

import base64
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from deployer.sandbox.options import TENANTS
from deployer.sandbox.up import Sandbox
from tests.real.commands import processes_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]

TENANT = TENANTS[0]
COPY = "COPY systemprompt /app/bin/"
SERVE = 'CMD ["/app/bin/systemprompt"]'


async def api(
    sandbox: Sandbox, method: str, path: str, body: object = None, key: str | None = None
) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {sandbox.api_token}"}
    if key:
        headers["Idempotency-Key"] = key
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.request(method, sandbox.api_url + path, json=body) as answer,
    ):
        return answer.status, await answer.json()


async def engine_says(
    sandbox: Sandbox, path: str, data: bytes = b"", **headers: str
) -> list[dict[str, Any]]:
    """What the engine streams in answer to a POST."""
    connector = aiohttp.UnixConnector(sandbox.engine.removeprefix("unix://"))
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.post(f"http://engine{path}", data=io.BytesIO(data), headers=sent) as answer,
    ):
        return [json.loads(line) async for line in answer.content if line.strip()]


async def build(sandbox: Sandbox, project: Path, image: str, *lines: str) -> None:
    context = project.parent / "context"
    binary = anyio.Path(project / "target/release/systemprompt")
    await anyio.Path(context).mkdir(exist_ok=True)
    dockerfile = "\n".join(["FROM debian:bookworm-slim", *lines])
    await anyio.Path(context / "Dockerfile").write_text(dockerfile)
    await anyio.Path(context / "systemprompt").write_bytes(await binary.read_bytes())
    await anyio.Path(context / "systemprompt").chmod(0o755)
    tar = await anyio.run_process(["tar", "-C", str(context), "-c", "."])
    path = f"/build?t={image}"
    said = await engine_says(sandbox, path, tar.stdout, Content_Type="application/x-tar")
    assert any("aux" in line for line in said), said


async def push(sandbox: Sandbox, image: str) -> list[dict[str, Any]]:
    _, login = await api(sandbox, "GET", f"/api/v1/tenants/{TENANT.id}/registry-token")
    auth = json.dumps({"username": "x", "password": login["password"]}).encode()
    name, _, tag = image.rpartition(":")
    path = f"/images/{name}/push?tag={tag}"
    return await engine_says(sandbox, path, X_Registry_Auth=base64.urlsafe_b64encode(auth).decode())


async def deploy(sandbox: Sandbox, image: str) -> tuple[int, Any]:
    return await api(sandbox, "POST", f"/api/v1/tenants/{TENANT.id}/deploy", {"image": image})


async def uploaded(sandbox: Sandbox) -> int:
    return int((await api(sandbox, "GET", "/__sandbox/log"))[1]["uploaded"])


async def page(sandbox: Sandbox) -> str:
    async with (
        aiohttp.ClientSession() as client,
        client.get(sandbox.urls[TENANT.id]) as answer,
    ):
        return await answer.text()


def named(sandbox: Sandbox, tag: str) -> str:
    return f"{sandbox.gate}/{TENANT.app}:{tag}"


async def test_what_was_pushed_and_deployed_answers_at_the_public_url(
    sandbox: Sandbox, workspace: Path
) -> None:
    image = named(sandbox, "v1")
    await build(sandbox, workspace, image, COPY, SERVE)

    said = await push(sandbox, image)
    code, answer = await deploy(sandbox, image)

    digest = next(line["aux"]["Digest"] for line in said if "aux" in line)
    assert (code, answer["status"]) == (200, "deployed")
    assert await page(sandbox) == "systemprompt 1.0.0\n"
    (*_, last) = (await anyio.Path(sandbox.ledger).read_text()).splitlines()
    assert json.loads(last)["digest"] == digest


async def test_the_next_deploy_takes_the_place_of_the_last(
    sandbox: Sandbox, workspace: Path
) -> None:
    for version in ("one", "two"):
        image = named(sandbox, version)
        serve = f'CMD ["sh", "-c", "VERSION={version} exec /app/bin/systemprompt"]'
        await build(sandbox, workspace, image, COPY, serve)
        await push(sandbox, image)
        assert (await deploy(sandbox, image))[0] == 200

    _, status = await api(sandbox, "GET", f"/api/v1/tenants/{TENANT.id}/status")
    assert (status["status"], status["image"]) == ("running", named(sandbox, "two"))


async def test_pushing_the_same_image_again_uploads_next_to_nothing(
    sandbox: Sandbox, workspace: Path
) -> None:
    image = named(sandbox, "again")
    await build(sandbox, workspace, image, COPY, SERVE)
    await push(sandbox, image)
    before = await uploaded(sandbox)

    said = await push(sandbox, image)

    assert any("aux" in line for line in said)
    assert await uploaded(sandbox) - before < 10_000


async def test_the_base_image_runs_shell_steps(sandbox: Sandbox, workspace: Path) -> None:
    image = named(sandbox, "shell")

    await build(sandbox, workspace, image, "RUN id -u && ls /etc/ssl/certs > /listing", SERVE)


@pytest.mark.parametrize("name", ["registry-wrong-password", "push-401"])
async def test_an_engine_reads_a_refused_login_as_unauthorized(
    name: str, sandbox: Sandbox, workspace: Path, fault: Callable[..., None]
) -> None:
    image = named(sandbox, name)
    await build(sandbox, workspace, image, COPY, SERVE, f"LABEL fault={name}")
    fault(name, 1 if name == "registry-wrong-password" else None)

    said = await push(sandbox, image)

    assert "unauthorized" in said[-1]["error"]


async def test_a_registry_that_is_down_refuses_the_engine(
    sandbox: Sandbox, workspace: Path, fault: Callable[..., None]
) -> None:
    image = named(sandbox, "down")
    await build(sandbox, workspace, image, COPY, SERVE)
    fault("registry-down")

    said = await push(sandbox, image)

    assert "connection refused" in said[-1]["error"]


async def test_an_application_that_ends_at_once_is_a_failed_update(
    sandbox: Sandbox, workspace: Path
) -> None:
    image = named(sandbox, "broken")
    await build(sandbox, workspace, image, 'CMD ["sh", "-c", "echo no database >&2; exit 1"]')
    await push(sandbox, image)

    code, answer = await deploy(sandbox, image)

    assert (code, answer["error"]["code"]) == (500, "machine_update_failed")
    assert "no database" in answer["error"]["message"]


@asynccontextmanager
async def an_own_one(folder: Path) -> AsyncIterator[tuple[anyio.abc.Process, dict[str, Any]]]:
    """`up` in a process of its own, with a container that does not mind SIGTERM."""
    argv = [sys.executable, "-m", "deployer.sandbox", "up", "--json", "--port", "0"]
    env = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    async with await anyio.open_process([*argv, "--folder", str(folder)], env=env) as process:
        assert process.stdout is not None
        with anyio.fail_after(120):
            lines = BufferedByteReceiveStream(process.stdout)
            described = json.loads(await lines.receive_until(b"\n", 1 << 20))
        yield process, described


async def start_a_stubborn_container(endpoint: str, label: str) -> None:
    connector = aiohttp.UnixConnector(endpoint.removeprefix("unix://"))
    spec = {
        "Image": "debian:bookworm-slim",
        "Cmd": ["sleep", "3600"],
        "Env": [f"LABEL={label}"],
        "HostConfig": {"NetworkMode": "host"},
    }
    async with aiohttp.ClientSession(connector=connector) as client:
        async with client.post("http://engine/containers/create", json=spec) as answer:
            container = (await answer.json())["Id"]
        async with client.post(f"http://engine/containers/{container}/start") as answer:
            assert answer.status == 204


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)]
)
async def test_nothing_is_left_running_however_it_ends(
    number: signal.Signals, code: int, sandbox_folder: Path
) -> None:
    folder = sandbox_folder / f"own-{number.name}"
    async with an_own_one(folder) as (process, described):
        endpoint = described["environment"]["DOCKER_HOST"]
        if str(folder) not in endpoint:
            pytest.skip("an engine of the user's is used, which lives on")
        await start_a_stubborn_container(endpoint, str(folder))

        process.send_signal(number)
        with anyio.fail_after(6):
            assert await process.wait() == code

    for _ in range(60):
        if not processes_of(folder):
            break
        await anyio.sleep(0.1)
    assert processes_of(folder) == []
    assert str(folder) not in await anyio.Path("/proc/self/mounts").read_text()
