"""Every way in which the image's build fails, brought about with a real engine where one is asked."""

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from deployer.adapters.context.build_context import BuildContext, PackedContext, PlannedContext
from deployer.adapters.docker.engine import Docker, Patience
from deployer.adapters.leaks import Leaks
from deployer.events import Transient
from deployer.failures import Failure
from deployer.model import Login, Secret
from deployer.names import ImageRef
from deployer.ports import ImageOrder
from tests.fakes.contexts import packed_context
from tests.servers.cutting import cutting
from tests.servers.engine import StandIn, serving

pytestmark = [pytest.mark.real, pytest.mark.anyio]

BASE = "FROM debian:bookworm-slim"
CANARY = Secret("postgres://app:canary-password-1@db.example/app")
Provoked = Callable[[str, object], None]


def deaf(_event: Transient) -> None:
    pass


@dataclass
class Project:
    """A folder with a Dockerfile."""

    root: Path

    def write(self, name: str, content: str = "x\n") -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return file

    def order(self, *steps: str) -> ImageOrder:
        self.write("Dockerfile", "\n".join((BASE, *steps)) + "\n")
        name = f"deployer-test/{secrets.token_hex(6)}:1"
        return ImageOrder(project_root=self.root, dockerfile=Path("Dockerfile"), local_tag=name)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


# -- The engine's address


async def test_no_engine(tmp_path: Path, provoked: Provoked) -> None:
    docker = Docker(context=BuildContext(), endpoint=f"unix://{tmp_path}/no.sock")

    provoked("I01", await docker.ping())


async def test_a_socket_that_nobody_serves_any_more(tmp_path: Path, provoked: Provoked) -> None:
    async with await anyio.create_unix_listener(tmp_path / "e.sock"):
        pass
    (tmp_path / "e.sock").touch()
    docker = Docker(context=BuildContext(), endpoint=f"tcp://127.0.0.1:{_closed_port()}")

    provoked("I01", await docker.ping())


def _closed_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_a_socket_of_somebody_else(provoked: Provoked) -> None:
    folder = Path("/tmp") / f"deployer-{secrets.token_hex(4)}"  # below pytest's own nobody may look
    folder.mkdir(mode=0o755)
    async with await anyio.create_unix_listener(folder / "e.sock", mode=0o600):
        docker = Docker(context=BuildContext(), endpoint=f"unix://{folder}/e.sock")
        os.seteuid(65534)
        try:
            found = await docker.ping()
        finally:
            os.seteuid(0)
    shutil.rmtree(folder)

    provoked("I02", found)


async def test_an_engine_that_takes_the_connection_and_says_nothing(provoked: Provoked) -> None:
    async with serving(StandIn(silent=True)) as silent:
        docker = Docker(
            context=BuildContext(), endpoint=silent.endpoint, patience=Patience(ping=0.2)
        )
        provoked("I02b", await docker.ping())


@pytest.mark.parametrize("endpoint", ["tcp://192.0.2.1:2375", "ftp://x"])
async def test_an_address_that_must_not_be_used(endpoint: str, provoked: Provoked) -> None:
    provoked("I02c", await Docker(context=BuildContext(), endpoint=endpoint).ping())


async def test_an_answer_that_is_no_engine_s(provoked: Provoked) -> None:
    async with serving(StandIn(version=[1, 2, 3])) as strange:
        docker = Docker(context=BuildContext(), endpoint=strange.endpoint)
        provoked("I19", await docker.ping())


# -- The context, before any engine is asked


def web_without_index(project: Project) -> None:
    project.write("core/web/dist/app.js")


def ignored(project: Project) -> None:
    project.write("services/config.yaml")
    project.write(".dockerignore", "services\n")


def fifo(project: Project) -> None:
    project.root.mkdir(parents=True, exist_ok=True)
    os.mkfifo(project.root / "pipe")


def link_outside(project: Project) -> None:
    project.root.mkdir(parents=True, exist_ok=True)
    (project.root / "hosts").symlink_to("/etc/hosts")


def nothing(_project: Project) -> None:
    pass


@pytest.mark.parametrize(
    ("failure_id", "spoil", "steps"),
    [
        ("I03", nothing, ["COPY target/release/systemprompt /app/"]),
        ("I03", nothing, ["COPY target/release/sys* /app/"]),
        ("I03", nothing, ["COPY target/ /app/"]),
        ("I04", nothing, ["COPY core/web/dist/ /app/"]),
        ("I04", web_without_index, ["COPY core/web/dist /app/"]),
        ("I04", nothing, ["COPY core/web/dist/* /app/"]),
        ("I05", nothing, ["COPY services/ /app/"]),
        ("I06", ignored, ["COPY services/ /app/"]),
        ("I08", nothing, ["COPPY a b"]),
        ("I08", nothing, ["COPY a"]),
        ("I14", fifo, ["COPY pipe /app/"]),
        ("I17", nothing, ["FROM --platform=linux/arm64 debian:bookworm-slim"]),
        ("I21", lambda project: project.write(".env"), ["COPY .env /app/"]),
        ("I22", nothing, ["COPY ../outside /app/"]),
        ("I22", link_outside, ["COPY hosts /app/"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_context_that_cannot_work_is_found_before_the_compile(
    project: Project,
    provoked: Provoked,
    failure_id: str,
    spoil: Callable[[Project], object],
    steps: list[str],
) -> None:
    spoil(project)

    provoked(failure_id, await BuildContext().survey(project.order(*steps), frozenset()))


async def test_no_dockerfile(project: Project, provoked: Provoked) -> None:
    order = project.order()
    (project.root / "Dockerfile").unlink()

    provoked("I07", await BuildContext().survey(order, frozenset()))


async def test_a_copied_file_that_holds_a_known_password(
    project: Project, provoked: Provoked
) -> None:
    project.write("services/config.yaml", f"database: {CANARY.reveal()}\n")

    packed = await packed_context(
        project.order("COPY services/ /app/"), BuildContext(leaks=Leaks([CANARY]))
    )

    provoked("I23", packed)
    assert isinstance(packed, Failure)
    assert "canary" not in packed.cause


# -- The engine's own words


@pytest.mark.parametrize(
    ("failure_id", "steps"),
    [
        ("I09", ["FROM 127.0.0.1:1/nothing:latest"]),
        ("I10", ["FROM REGISTRY/no-such-image:latest"]),
        ("I11", ["RUN echo last words && exit 7"]),
        ("I11", ["RUN no-such-command"]),
        ("I11b", ["RUN sh -c 'kill -9 $$'; exit $?"]),
        ("I11b", ["RUN exit 143"]),
        ("I13", ["RUN cat /bin/sh > /dev/full"]),
        ("I23", [f"ENV DATABASE_URL={CANARY.reveal()}"]),
        ("I23", [f"ARG URL={CANARY.reveal()}", "RUN true"]),
        ("I00", ["COPY --chown=nosuchuser Dockerfile /app/"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_real_engine_fails_as_the_catalogue_says(
    project: Project,
    engine: str,
    registry: str,
    provoked: Provoked,
    failure_id: str,
    steps: list[str],
) -> None:
    docker = Docker(context=BuildContext(), endpoint=engine, leaks=Leaks([CANARY]))
    steps = [step.replace("REGISTRY", registry) for step in steps]

    provoked(failure_id, await docker.build(project.order(*steps), deaf))


async def test_an_engine_that_dies_in_mid_build(
    project: Project, engine: str, tmp_path: Path, provoked: Provoked
) -> None:
    async with cutting(engine, tmp_path / "door.sock", b"Step 2/3") as door:
        docker = Docker(context=BuildContext(), endpoint=door)
        found = await docker.build(project.order("RUN sleep 1", "RUN true"), deaf)

    provoked("I12", found)


class CutShort(BuildContext):
    """Loses the second half of each context."""

    async def pack(self, planned: PlannedContext) -> PackedContext | Failure:
        packed = await super().pack(planned)
        if isinstance(packed, PackedContext):
            packed.file.truncate(5000)
        return packed


async def test_a_context_that_is_cut_short(
    project: Project, engine: str, provoked: Provoked
) -> None:
    project.write("data", "d" * 10_000)
    docker = Docker(context=CutShort(), endpoint=engine)

    provoked("I15", await docker.build(project.order("COPY data /"), deaf))


async def test_a_name_that_is_none_asks_no_engine(engine: str, provoked: Provoked) -> None:
    docker = Docker(context=BuildContext(), endpoint=engine)
    target = ImageRef("127.0.0.1:1", "app", "v1")
    login = Login(registry="127.0.0.1:1", username="x", password=Secret("p"))

    provoked("I16", await docker.push("x/../../containers/prune?a=", target, login, deaf))
