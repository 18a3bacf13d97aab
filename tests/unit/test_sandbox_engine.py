import json
import os
import socket
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from deployer.sandbox.engine import candidates, engine
from deployer.sandbox.options import Options
from deployer.sandbox.programs import Programs
from deployer.sandbox.refusal import Refused


def context(home: Path, name: str, host: str) -> None:
    folder = home / "contexts" / "meta" / sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    meta = {"Name": name, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (home / "config.json").write_text(json.dumps({"currentContext": name}))


def test_a_docker_host_of_the_user_is_the_only_candidate(tmp_path: Path) -> None:
    context(tmp_path, "colima", "unix:///colima.sock")
    environ = {"DOCKER_HOST": "unix:///mine.sock", "DOCKER_CONFIG": str(tmp_path)}

    assert list(candidates(environ)) == ["unix:///mine.sock"]


def test_the_current_context_comes_before_the_usual_sockets(tmp_path: Path) -> None:
    context(tmp_path, "colima", "unix:///colima.sock")

    assert next(candidates({"DOCKER_CONFIG": str(tmp_path)})) == "unix:///colima.sock"


@pytest.mark.parametrize("config", ["", "[]", "{", '{"currentContext": "gone"}'])
def test_a_broken_or_missing_context_is_passed_over(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)

    found = list(candidates({"DOCKER_CONFIG": str(tmp_path)}))

    assert all(Path(each.removeprefix("unix://")).is_socket() for each in found)


def test_a_rootless_podman_socket_is_a_candidate(tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "podman" / "podman.sock"))
        environ = {"XDG_RUNTIME_DIR": str(tmp_path), "DOCKER_CONFIG": os.devnull}

        assert f"unix://{tmp_path}/podman/podman.sock" in candidates(environ)


@pytest.mark.anyio
async def test_an_engine_that_is_passed_over_is_named(tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    context(tmp_path, "colima", f"unix://{dead}")
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path)}
    options = Options(cache=tmp_path, folder=tmp_path, environ=environ, faults={})
    said: list[str] = []

    with suppress(Refused):  # where the machine has another one, that one is used
        async with engine(options, Programs(options, said.append), said.append):
            pass

    assert said[0] == f"At unix://{dead} the engine does not answer (Connection refused)"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["unix:///nowhere/d.sock", "tcp://127.0.0.1:1", "ssh://a@b"])
async def test_a_docker_host_that_does_not_answer_is_refused_not_replaced(
    host: str, tmp_path: Path
) -> None:
    environ = {"DOCKER_HOST": host}
    options = Options(cache=tmp_path, folder=tmp_path, environ=environ, faults={})

    said: list[str] = []

    with pytest.raises(Refused, match="unset DOCKER_HOST"):
        async with engine(options, Programs(options, said.append), said.append):
            pass
