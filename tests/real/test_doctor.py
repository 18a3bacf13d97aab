"""The doctor on the real sample: nothing on a healthy one, everything on a spoilt one."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from deployer.sandbox.up import Sandbox
from tests.real.commands import CommandLine

pytestmark = pytest.mark.real


@pytest.fixture
def cli(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> CommandLine:
    """The command line in a fresh project, with a journal of its own."""
    env = {**os.environ, **sandbox.environment(), "XDG_STATE_HOME": str(tmp_path / "state")}
    for name in ("DATABASE_URL", "RUSTC_WRAPPER", "CARGO_TARGET_DIR"):
        env.pop(name, None)
    return CommandLine(workspace, env)


def checks(document: Mapping[str, object], level: str) -> list[str]:
    listed = document["checks"]
    assert isinstance(listed, list)
    return [f"{each['name']}: {each['text']}" for each in listed if each["level"] == level]


def test_a_healthy_sample_has_nothing_to_mend(cli: CommandLine) -> None:
    ended = cli("doctor")

    assert ended.code == 0, ended.document
    assert checks(ended.document, "fail") == checks(ended.document, "warn") == []
    names = {line.partition(":")[0] for line in checks(ended.document, "pass")}
    wanted = {"python", "git", "cargo", "engine", "crates", "context", "login", "registry", "push"}
    assert wanted | {"account", "clock", "status", "journal", "image"} <= names


def test_a_missing_push_right_is_told_before_the_compile(
    cli: CommandLine, fault: Callable[..., None]
) -> None:
    fault("push-401")

    refused = cli("deploy")

    assert refused.code == 3
    assert refused.document["run"] is None
    assert refused.failure["id"] == "P01"
    assert refused.failure["resolution"] == "Check credentials, re-login"


# Each spoils the project or its surroundings in one way, and names what must be told of it.


def spoil(cli: CommandLine, tmp_path: Path) -> dict[str, str]:
    """Plant twenty defects; the words by which each is recognised."""
    project, home = cli.project, cli.project / ".systemprompt"
    dockerfile = home / "Dockerfile"
    state = tmp_path / "spoilt-state"
    state.mkdir()
    (state / "journal.sqlite").write_bytes(b"\0" * 200)
    tenants = json.loads((home / "tenants.json").read_text())
    tenants["tenants"] = [row for row in tenants["tenants"] if row["tenant_type"] != "local"]
    (home / "tenants.json").write_text(json.dumps(tenants))
    (home / "credentials.json").chmod(0o644)
    (project / "deployer.toml").write_text('[project]\ntenannt = "x"\n')
    broken = home / "profiles/broken"
    broken.mkdir()
    (broken / "profile.yaml").write_text("a: [")
    (project / "core/web/dist/index.html").unlink()
    (project / "secret").mkdir()
    (project / "secret/.env").write_text("x")
    (project / "kept").mkdir()
    (project / "kept/file").write_text("x")
    os.mkfifo(project / "pipe")
    (project / "outside").symlink_to("/etc/hosts")
    (project / ".dockerignore").write_text((project / ".dockerignore").read_text() + "\nkept\n")
    (project / "core/Cargo.toml").write_text("[package\n")
    for name, text in {"one": "extension: [", "two": "extension: {type: mcp, name: two}"}.items():
        folder = project / "extensions/mcp" / name
        folder.mkdir()
        (folder / "manifest.yaml").write_text(text)
    lines = ("nowhere", "secret/.env", "../above", "kept", "pipe", "outside")
    copies = "".join(f"COPY {line} /x/\n" for line in lines)
    # A RUN, or deployer would make the image itself where no engine answers.
    dockerfile.write_text(dockerfile.read_text() + copies + "RUN true\n")
    return {
        "settings of another name": "unknown key",
        "readable login": "mode 0644",
        "broken profile": "profile broken",
        "no database": "DATABASE_URL is not set",
        "no cargo": "no program `cargo`",
        "no git": "no git",
        "no engine": "no engine",
        "wrapper": "RUSTC_WRAPPER",
        "broken journal": "journal",
        "core's manifest": "core/Cargo.toml",
        "first extension": "extensions/mcp/one/manifest.yaml",
        "second extension": "extensions/mcp/two/manifest.yaml",
        "missing source": "nowhere",
        "copied secret": "secret/.env",
        "source above": "../above",
        "ignored source": "ignores kept",
        "pipe": "a FIFO",
        "link out": "outside",
        "web dist": "index.html",
        "refused login": "login: unauthorized",
    }


def test_twenty_planted_defects_are_found_in_one_run(
    cli: CommandLine, tmp_path: Path, fault: Callable[..., None]
) -> None:
    planted = spoil(cli, tmp_path)
    fault("token-401")
    programs = tmp_path / "programs"
    programs.mkdir()
    env = {
        **cli.env,
        "PATH": str(programs),
        "DOCKER_HOST": f"unix://{tmp_path}/no-engine.sock",
        "RUSTC_WRAPPER": "sccache",
    }
    spoilt = CommandLine(cli.project, env)

    ended = spoilt("doctor", "--state-dir", str(tmp_path / "spoilt-state"))

    assert ended.code == 3
    told = [*checks(ended.document, "fail"), *checks(ended.document, "warn")]
    missing = {name for name, word in planted.items() if not any(word in line for line in told)}
    assert missing == set(), told
    assert all(
        check["remedy"] for check in ended.document["checks"] if check["level"] in ("fail", "warn")
    )
