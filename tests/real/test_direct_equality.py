"""The direct builder's images against those of both of the engine's builders: each file and setting."""

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import anyio
import pytest

from deployer.adapters.clock import SystemClock
from deployer.adapters.context.build_context import BuildContext, PackedContext
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.layers import Layers
from deployer.adapters.docker.engine import Docker
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.docker.loading import Workshop
from deployer.adapters.http.client import Http
from deployer.adapters.leaks import Leaks
from deployer.failures import Failure, Kind
from deployer.model import Image, Login, Secret
from deployer.names import ImageId, ImageRef
from deployer.ports import ImageOrder
from deployer.sandbox.up import Sandbox
from tests.fakes.contexts import packed_context

pytestmark = [pytest.mark.real, pytest.mark.anyio]

BASE: Final = "plain:1"
LONG: Final = "long/" + "/".join(["a-directory-with-a-rather-long-name"] * 4) + "/leaf.txt"
# What an image's config may say; the rest is the builder's own bookkeeping.
FIELDS: Final = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"),
    *("StopSignal", "Healthcheck", "Shell", "OnBuild"),
)
CLASSIC: Final = "classic"
BUILDKIT: Final = "buildkit"

CASES: Final[Mapping[str, str]] = {
    # one file
    "file to a new name": "COPY notes.txt /srv/renamed.txt",
    "file into a new directory": "COPY notes.txt /srv/app/",
    "file into a directory of the base": "COPY notes.txt /usr/bin",
    "file over a file of the base": "COPY notes.txt /etc/motd",
    "file into the root": "COPY notes.txt /",
    "file named by a leading slash": "COPY /notes.txt /srv/",
    "file named with dots": "COPY ./services/../notes.txt /srv/",
    "executable": "COPY target/release/app /app/bin/app",
    "large file": "COPY big.bin /srv/",
    "empty file": "COPY empty /srv/empty",
    "long path": f"COPY {LONG} /srv/{LONG}",
    "deep new parents": "COPY notes.txt /a/b/c/d/e/f",
    "name outside ASCII": "COPY ünïcode.txt /srv/",
    "name with a blank": 'COPY ["with space/file one.txt", "/srv/a b/"]',
    "file that a link names": "COPY link.txt /srv/",
    "file that a link names, renamed": "COPY link.txt /srv/other.txt",
    # several, patterns
    "two files": "COPY notes.txt empty /srv/",
    "file and directory": "COPY notes.txt services /srv/",
    "two directories that overlap": "COPY services more /srv/",
    "json form": 'COPY ["notes.txt", "empty", "/srv/"]',
    "star": "COPY *.txt /srv/",
    "star in a directory": "COPY services/*.yml /srv/",
    "star over directories": "COPY serv* /srv/",
    "star in the middle": "COPY services/*/b.yml /srv/",
    "question mark": "COPY note?.txt /srv/",
    "character class": "COPY [ne]*.txt /srv/",
    "pattern with one match and no slash": "COPY note*.txt /srv/renamed",
    # directories
    "directory": "COPY services /srv/services",
    "directory with a slash": "COPY services/ /srv/services/",
    "directory into the base's": "COPY services /usr/share",
    "directory into the root": "COPY services /",
    "directory with links": "COPY web /srv/web",
    "directory that a link names": "COPY dirlink /srv/linked",
    "directory with an empty one": "COPY hollow /srv/hollow",
    "directory over a directory with another mode": "COPY rootlike /",
    "whole context": "COPY . /srv/",
    "whole context without what is ignored": "COPY . /srv/\n#ignore services\n#ignore *.bin",
    "ignored and readmitted": "COPY services /srv/\n#ignore services/*\n#ignore !services/sub",
    # Who sends the context to BuildKit has ignored already; the classic builder does it itself.
    "ignored control files": f"#{CLASSIC}\nCOPY . /srv/\n#ignore Dockerfile\n#ignore .dockerignore",
    # order
    "copied twice": "COPY notes.txt /srv/x\nCOPY other.txt /srv/x",
    "directory over an earlier one": "COPY services /srv/\nCOPY more /srv/",
    "file into a directory of an earlier copy": "COPY services /srv/s\nCOPY notes.txt /srv/s",
    # WORKDIR
    "workdir": "WORKDIR /srv/app",
    "workdir, relative": "WORKDIR /srv\nWORKDIR app\nWORKDIR ./x/../y",
    "workdir that is there": "WORKDIR /usr/bin",
    "workdir and relative destination": "WORKDIR /srv/app\nCOPY notes.txt here.txt",
    "workdir and dot": "WORKDIR /srv/app\nCOPY notes.txt .",
    "workdir and dot with a slash": "WORKDIR /srv/app\nCOPY services ./",
    "relative destination without a workdir": "COPY notes.txt srv/x",
    "workdir after user, that is there": "USER 1000\nWORKDIR /usr/bin",
    "workdir after user, root": "USER 0:0\nWORKDIR /home/me",
    "copy after user": "USER 1000\nCOPY notes.txt /home/me/",
    # owners and modes
    "chown, numbers": "COPY --chown=1000:1001 services /srv",
    "chown, one number": "COPY --chown=1000 notes.txt /srv/n/m/notes.txt",
    "chown, names": "COPY --chown=worker:staff services /usr/share",
    "chown, user name alone": "COPY --chown=worker notes.txt /srv/",
    "chown, variable": "ENV WHO=7:8\nCOPY --chown=$WHO web /usr/share/web/",
    "chown, into a workdir": "WORKDIR /x/y\nCOPY --chown=5:6 services /x/y/z",
    "chown, file and directory": "COPY --chown=5:6 notes.txt services /x/y/",
    "chown, root": "COPY --chown=0:0 services /x/y/z",
    "chmod, file": f"#{BUILDKIT}\nCOPY --chmod=600 notes.txt /srv/n/notes.txt",
    "chmod, directory": f"#{BUILDKIT}\nCOPY --chmod=0750 services /srv/s",
    "chmod, directory into the base's": f"#{BUILDKIT}\nCOPY --chmod=700 services /usr/share/",
    "chmod, links": f"#{BUILDKIT}\nCOPY --chmod=755 web /srv/web",
    # settings
    "cmd, shell": "CMD echo hello && env",
    "cmd, json": 'CMD ["/app/bin/app", "--flag"]',
    "entrypoint takes the base's cmd away": 'ENTRYPOINT ["/app/bin/app"]',
    "cmd, then entrypoint": 'CMD ["a"]\nENTRYPOINT ["b"]',
    "entrypoint, shell": "ENTRYPOINT exec top -b",
    "shell": 'SHELL ["/bin/bash", "-ec"]\nCMD run me',
    "env, several": 'ENV A=1 B="two words" C=\'$A\'\nENV D="$A-${B}" E=${NONE:-none} PATH=/x:$PATH',
    "env, old form": "ENV OLD some value here",
    "env seen on one line": "ENV A=1\nENV A=2 B=$A",
    "arg": "ARG WHERE=/srv/arg\nCOPY notes.txt $WHERE/\nLABEL where=$WHERE",
    "arg before from": "#first ARG VERSION=1\nARG VERSION\nLABEL v=$VERSION",
    "env after arg": "ARG X=arg\nENV X=env\nLABEL x=$X",
    "env and arg of one value": "ENV X=same\nARG X=same\nARG X\nLABEL x=$X",
    "label": 'LABEL a=1 "b c"="d e"\nLABEL a=2 base=mine',
    "expose": "EXPOSE 80 90/udp 7000-7003\nENV P=8080\nEXPOSE $P",
    "volume": 'VOLUME /data /more\nVOLUME ["/with space"]',
    "user": "USER worker:staff",
    "stop signal": "STOPSIGNAL SIGQUIT",
    "healthcheck": "HEALTHCHECK --interval=1m30s --timeout=3s --retries=4 CMD curl -f localhost",
    "healthcheck, json": 'HEALTHCHECK --start-period=5s CMD ["/bin/true"]',
    "healthcheck, none": "HEALTHCHECK NONE",
    "maintainer": "MAINTAINER Somebody <some@example.com>",
    "continued lines": "LABEL a=1 \\\n  b=2\nCOPY \\\n  notes.txt \\\n  /srv/",
    "the document's form": "WORKDIR /app\nCOPY target/release/app /app/bin/\n"
    "COPY web /app/web/dist\nCOPY services /app/services\n"
    'ENV HOST=0.0.0.0 PORT=8080\nEXPOSE 8080\nCMD ["/app/bin/app"]',
}

# What comes out differently in the two builders, and the line that is refused for it.
DISPUTED: Final[Mapping[str, tuple[int, str]]] = {
    "workdir after user": (3, "USER 1000\nWORKDIR /home/me"),
    "workdir after user, relative": (4, "WORKDIR /usr\nUSER worker\nWORKDIR mine"),
    "chown, directory below a new one": (2, "COPY --chown=5:6 services /x/y/z"),
    "arg that loses its value": (3, "ARG A=1\nARG A\nLABEL a=${A:-none}"),
    "arg after env": (3, "ENV X=env\nARG X=arg\nLABEL x=$X"),
}


@dataclass(frozen=True)
class Found:
    """An image as an engine has it."""

    config: dict[str, Any]
    files: dict[str, tuple[object, ...]]


@dataclass(frozen=True)
class Bench:
    """An engine, a registry, and the base image in both."""

    sandbox: Sandbox
    client: aiohttp.ClientSession

    async def call(self, method: str, path: str, **more: Any) -> bytes:
        async with self.client.request(method, f"http://engine{path}", **more) as answer:
            body = await answer.read()
            assert answer.status < 400, (path, body[-400:])
            return body

    async def built_by_engine(self, packed: PackedContext, name: str, *, buildkit: bool) -> None:
        version = "&version=2" if buildkit else ""
        # Without its cache: the classic builder takes equal bytes under another name for a hit.
        path = f"/build?t={name}&dockerfile={packed.dockerfile}&rm=1&nocache=1{version}"
        said = await self.call("POST", path, data=packed.file)
        assert b'"errorDetail"' not in said, said[-400:]

    async def found(self, name: str) -> Found:
        inspected = json.loads(await self.call("GET", f"/images/{name}/json"))
        config = {key: inspected["Config"].get(key) or None for key in FIELDS}
        created = await self.call("POST", "/containers/create", json={"Image": name, "Cmd": ["x"]})
        container = json.loads(created)["Id"]
        exported = await self.call("GET", f"/containers/{container}/export")
        await self.call("DELETE", f"/containers/{container}?v=1&force=1")
        config["Platform"] = (inspected["Os"], inspected["Architecture"], inspected["Author"])
        return Found(config, _files(exported))


def _files(exported: bytes) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        for each in tar:
            content = tar.extractfile(each) if each.isreg() else None
            digest = hashlib.sha256(content.read()).hexdigest() if content else ""
            shown = (each.type, oct(each.mode), each.uid, each.gid, each.linkname, digest)
            found[each.name.rstrip("/")] = shown
    return found


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("equality")
    texts = ["notes.txt", "other.txt", "ünïcode.txt", "with space/file one.txt", LONG]
    texts += ["services/a.yml", "services/sub/b.yml", "services/sub/deep/c.yml", "more/a.yml"]
    texts += ["web/index.html", "web/assets/x.js", "rootlike/tmp/t", "rootlike/etc/conf"]
    texts += ["target/release/app"]
    for path in texts:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"content of {path}\n")
    (root / "hollow/inner").mkdir(parents=True)
    (root / "empty").touch()
    (root / "big.bin").write_bytes(bytes(range(256)) * 10_000)
    (root / "target/release/app").chmod(0o755)
    (root / "more/a.yml").chmod(0o600)
    (root / "web/latest").symlink_to("index.html")
    (root / "link.txt").symlink_to("notes.txt")
    (root / "dirlink").symlink_to("services")
    return root


def base_archive() -> bytes:
    """A small root file system with all that a COPY may meet."""
    rows: list[tuple[str, bytes, int, str]] = [
        *((name, tarfile.DIRTYPE, 0o755, "") for name in ("usr", "usr/bin", "usr/share", "etc")),
        ("tmp", tarfile.DIRTYPE, 0o1777, ""),
        ("bin", tarfile.SYMTYPE, 0o777, "usr/bin"),
        ("etc/motd", tarfile.REGTYPE, 0o644, "welcome\n"),
        (
            "etc/passwd",
            tarfile.REGTYPE,
            0o644,
            "root:x:0:0::/:/bin/sh\nworker:x:70:71::/:/bin/sh\n",
        ),
        ("etc/group", tarfile.REGTYPE, 0o644, "root:x:0:\nworker:x:71:\nstaff:x:50:\n"),
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, mode, text in rows:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, mode
            content = text.encode() if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            info.linkname = text if kind == tarfile.SYMTYPE else ""
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture
async def bench(sandbox: Sandbox) -> AsyncIterator[Bench]:
    connector = aiohttp.UnixConnector(sandbox.engine.removeprefix("unix://"))
    async with aiohttp.ClientSession(connector=connector) as client:
        bench = Bench(sandbox, client)
        await _have_base(bench)
        yield bench


async def _have_base(bench: Bench) -> None:
    there = f"{bench.sandbox.registry}/library/plain"
    async with bench.client.get(f"http://engine/images/{there}:1/json") as answer:
        if answer.status == 200:
            return
    changes = ["ENV BASE=yes PATH=/usr/bin", 'CMD ["/bin/sh"]', "LABEL base=theirs", "EXPOSE 1"]
    query = [("fromSrc", "-"), ("repo", "plain"), ("tag", "1")]
    query += [("changes", change) for change in changes]
    await bench.call("POST", "/images/create", params=query, data=base_archive())
    await bench.call("POST", f"/images/{BASE}/tag?repo={there}&tag=1")
    said = await bench.call(
        "POST", f"/images/{there}/push?tag=1", headers={"X-Registry-Auth": "e30="}
    )
    assert b'"aux"' in said, said


def _written(project: Path, case: str, name: str) -> ImageOrder:
    """The case's Dockerfile in the project."""
    lines = case.splitlines()
    first = [line.removeprefix("#first ") for line in lines if line.startswith("#first ")]
    ignored = [line.removeprefix("#ignore ") for line in lines if line.startswith("#ignore ")]
    rest = [line for line in lines if not line.startswith("#")]
    (project / "Dockerfile").write_text("\n".join([*first, f"FROM {BASE}", *rest]) + "\n")
    (project / ".dockerignore").unlink(missing_ok=True)
    if ignored:
        (project / ".dockerignore").write_text("\n".join(ignored) + "\n")
    return ImageOrder(project_root=project, dockerfile=Path("Dockerfile"), local_tag=name)


async def _by_engine(bench: Bench, order: ImageOrder, *, buildkit: bool) -> Found:
    packed = await packed_context(order)
    assert not isinstance(packed, Failure), packed
    with packed:
        await bench.built_by_engine(packed, order.local_tag, buildkit=buildkit)
    with anyio.fail_after(60):
        return await bench.found(order.local_tag)


async def _loaded(bench: Bench, order: ImageOrder, name: str, folder: Path) -> ImageId:
    """The image that the engine has after loading our layers: an id says what is in it."""
    images = KnownImages(folder)
    cupboard, leaks = Cupboard(folder), Leaks()
    workshop = Workshop(
        cupboard=cupboard,
        layers=Layers(cupboard, SystemClock(), leaks),
        images=images,
        leaks=leaks,
    )
    docker = Docker(context=BuildContext(), endpoint=bench.sandbox.engine, workshop=workshop)
    image = await docker.build(replace(order, local_tag=name), lambda _: None)
    assert isinstance(image, Image), image
    return image.image_id


def _builders(case: str) -> list[str]:
    named = {line.removeprefix("#") for line in case.splitlines() if line.startswith("#")}
    return [each for each in (CLASSIC, BUILDKIT) if each in named] or [CLASSIC, BUILDKIT]


@pytest.mark.parametrize("case", CASES)
async def test_all_builders_make_the_same_image(
    case: str, bench: Bench, project: Path, tmp_path: Path
) -> None:
    number = list(CASES).index(case)
    order = _written(project, CASES[case], f"equality:{number}")
    registry = bench.sandbox.registry
    target = ImageRef(registry, "equality", f"direct-{number}")

    async with Http(kept_connections=4) as http:
        builder = DirectBuilder(
            http, cupboard=Cupboard(tmp_path), clock=SystemClock(), base_registry=registry
        )
        image = await builder.build(order, lambda _: None)
        assert isinstance(image, Image), image
        login = Login(registry=registry, username="x", password=Secret("y"))
        pushed = await builder.push(order.local_tag, target, login, lambda _: None)
    assert isinstance(pushed, str), pushed
    assert await _loaded(bench, order, f"loaded:{number}", tmp_path) == image.image_id
    said = await bench.call("POST", f"/images/create?fromImage={target.name}&tag={target.tag}")
    assert b"error" not in said, said
    ours = await bench.found(str(target))

    for name in _builders(CASES[case]):
        theirs = await _by_engine(bench, order, buildkit=name == BUILDKIT)
        assert ours.config == theirs.config, name
        assert ours.files == theirs.files, name


@pytest.mark.parametrize("case", DISPUTED)
async def test_what_differs_between_the_engines_builders_is_refused(
    case: str, bench: Bench, project: Path, tmp_path: Path
) -> None:
    line, text = DISPUTED[case]
    order = _written(project, text, "disputed:1")
    async with Http(kept_connections=4) as http:
        builder = DirectBuilder(
            http,
            cupboard=Cupboard(tmp_path),
            clock=SystemClock(),
            base_registry=bench.sandbox.registry,
        )
        refused = await builder.build(order, lambda _: None)

    assert isinstance(refused, Failure)
    assert refused.kind is Kind.NEEDS_ENGINE
    assert f"line {line}: " in refused.cause
    assert "differs between builders" in refused.cause
    classic = await _by_engine(bench, order, buildkit=False)
    assert classic != await _by_engine(bench, order, buildkit=True)
