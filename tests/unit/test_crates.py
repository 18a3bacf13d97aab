"""Which builds a project needs, read from projects on disk."""

import os
from pathlib import Path

import pytest

from deployer.adapters.cargo.crates import crates, locks_package
from deployer.failures import Failure, Kind
from deployer.model import Crate

CORE = Crate(name="core", manifest=Path("core/Cargo.toml"), binaries=("systemprompt",))
TOOLS = Crate(name="system-tools", package="system-tools", binaries=("system-tools",))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def package(name: str) -> str:
    return f'[package]\nname = "{name}"\nversion = "0.1.0"\n'


def extension(name: str, **keys: object) -> str:
    said = {"type": "mcp", "name": name, "binary": f"bin-{name}", "enabled": True} | keys
    lines = (
        f"  {key}: {str(value).lower() if value in (True, False) else value}"
        for key, value in said.items()
    )
    return "\n".join(("extension:", *lines, "  port: 5002"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(
        tmp_path / "project",
        {
            "Cargo.toml": '[workspace]\nmembers = ["tools/*"]\n',
            "tools/system-tools/Cargo.toml": package("system-tools"),
            "core/Cargo.toml": package("systemprompt"),
        },
    )


def refused(project: Path) -> tuple[Kind, str]:
    found = crates(project)
    assert isinstance(found, Failure)
    return found.kind, found.cause


def test_without_manifests_the_document_s_four_are_built(project: Path) -> None:
    for name in ("infrastructure", "admin"):
        write(project, {f"extensions/mcp/{name}/Cargo.toml": package(f"systemprompt-{name}")})

    assert crates(project) == (
        CORE,
        TOOLS,
        Crate(
            name="infrastructure",
            manifest=Path("extensions/mcp/infrastructure/Cargo.toml"),
            binaries=("systemprompt-infrastructure",),
        ),
        Crate(
            name="admin",
            manifest=Path("extensions/mcp/admin/Cargo.toml"),
            binaries=("systemprompt-admin",),
        ),
    )


@pytest.mark.parametrize(
    "missing", ["Cargo.toml", "core/Cargo.toml", "extensions/mcp/admin/Cargo.toml"]
)
def test_a_manifest_that_is_missing_is_named(project: Path, missing: str) -> None:
    for name in ("infrastructure", "admin"):
        write(project, {f"extensions/mcp/{name}/Cargo.toml": package(f"systemprompt-{name}")})
    (project / missing).unlink()

    assert refused(project) == (Kind.MANIFEST_BROKEN, f"{missing} does not exist, or is no file")


def test_with_manifests_they_decide(project: Path) -> None:
    write(
        project,
        {
            "extensions/mcp/a/manifest.yaml": extension("a", build_type="submodule"),
            "extensions/mcp/a/Cargo.toml": package("a"),
            "extensions/b/manifest.yaml": extension("b"),
            "extensions/b/Cargo.toml": package("package-of-b"),
            "extensions/cli/manifest.yaml": extension("c", type="cli"),
            "extensions/idle/manifest.yaml": extension("idle", enabled=False),
            "extensions/dev/manifest.yaml": extension("dev", dev_only=True),
        },
    )

    assert crates(project) == (
        CORE,
        TOOLS,
        Crate(name="b", package="package-of-b", binaries=("bin-b",)),
        Crate(name="a", manifest=Path("extensions/mcp/a/Cargo.toml"), binaries=("bin-a",)),
    )


@pytest.mark.parametrize(
    ("members", "built"),
    [
        ({"tools/bin-a/Cargo.toml": package("bin-a")}, "bin-a"),
        ({"tools/a/Cargo.toml": package("a")}, "a"),
        ({}, "bin-a"),
    ],
)
def test_a_workspace_extension_without_a_manifest_is_found_by_its_names(
    project: Path, members: dict[str, str], built: str
) -> None:
    write(project, {"extensions/a/manifest.yaml": extension("a"), **members})

    assert crates(project) == (
        CORE,
        TOOLS,
        Crate(name="a", package=built, binaries=("bin-a",)),
    )


def test_system_tools_is_not_built_where_the_workspace_has_no_such_package(project: Path) -> None:
    write(
        project,
        {
            "Cargo.toml": "[workspace]\nmembers = []\n",
            "extensions/a/manifest.yaml": extension("a", build_type="submodule"),
            "extensions/a/Cargo.toml": package("a"),
        },
    )

    found = crates(project)

    assert isinstance(found, tuple)
    assert [crate.name for crate in found] == ["core", "a"]


@pytest.mark.parametrize(("enabled", "built"), [(True, (CORE, TOOLS)), (False, (CORE,))])
def test_system_tools_obeys_a_manifest_of_its_own(
    project: Path, enabled: bool, built: tuple[Crate, ...]
) -> None:
    said = extension("system-tools", binary="system-tools", enabled=enabled)
    write(project, {"extensions/mcp/system-tools/manifest.yaml": said})

    assert crates(project) == built


def test_two_servers_of_one_package_are_one_build(project: Path) -> None:
    write(
        project,
        {
            "tools/both/Cargo.toml": package("bin-one"),
            "extensions/one/manifest.yaml": extension("one"),
            "extensions/two/manifest.yaml": extension("bin-one", binary="bin-two"),
        },
    )

    found = crates(project)

    assert isinstance(found, tuple)
    assert found[2:] == (Crate(name="one", package="bin-one", binaries=("bin-one", "bin-two")),)


def test_a_binary_that_two_crates_claim_is_refused(project: Path) -> None:
    for name in ("one", "two"):
        said = extension(name, binary="same", build_type="submodule")
        write(project, {f"extensions/{name}/manifest.yaml": said})
        write(project, {f"extensions/{name}/Cargo.toml": package(name)})

    assert refused(project) == (
        Kind.NO_SUCH_PACKAGE,
        "extensions/two/Cargo.toml of two is to build same, which one builds",
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("extension: [", "is not valid YAML: while parsing"),
        ("", "is no extension's manifest: Expected `object`, got `null`"),
        ("extensions: {}", "missing required field `extension`"),
        ("extension: {name: a, binary: b}", "missing required field `type` - at `$.extension`"),
        ("extension: {type: mcp, name: 5}", "Expected `str`, got `int` - at `$.extension.name`"),
        ("extension: {type: mcp, name: a}", "extension.binary None is not a binary's name"),
        (extension("a", binary="../sh"), "extension.binary '../sh' is not a binary's name"),
        (extension("a", binary="--config=x"), "extension.binary '--config=x' is not"),
        (extension("a", build_type="magic"), "extension.build_type 'magic' is not workspace"),
        (
            extension("a", enabled="perhaps"),
            "Expected `bool`, got `str` - at `$.extension.enabled`",
        ),
        ("when: 2024-99-99", "is not valid YAML: ValueError"),
        ("[" * 1000, "is not valid YAML: RecursionError"),
        (
            "x: &x [!!python/object/apply:os.system [true]]",
            "is not valid YAML: could not determine",
        ),
        ("# " + "x" * (1 << 20), "is larger than 1 MiB"),
    ],
)
def test_a_manifest_that_can_not_be_used_is_named_with_its_key(
    project: Path, text: str, cause: str
) -> None:
    write(project, {"extensions/a/manifest.yaml": text})

    kind, said = refused(project)

    assert kind is Kind.NO_SUCH_PACKAGE
    assert said.startswith("extensions/a/manifest.yaml ")
    assert cause in said


@pytest.mark.parametrize("text", ["[package", "[package]\nname = 1\n", "\xff"])
def test_a_cargo_manifest_that_can_not_be_used_is_named(project: Path, text: str) -> None:
    (project / "core/Cargo.toml").write_bytes(text.encode("latin-1"))
    for name in ("infrastructure", "admin"):
        write(project, {f"extensions/mcp/{name}/Cargo.toml": package(f"systemprompt-{name}")})

    kind, cause = refused(project)

    assert kind is Kind.MANIFEST_BROKEN
    assert cause.startswith("core/Cargo.toml is not a valid manifest: ")


@pytest.mark.parametrize("link", ["extensions/a", "extensions/a/manifest.yaml"])
def test_a_link_out_of_the_project_is_refused(project: Path, link: str) -> None:
    outside = write(project.parent / "outside", {"manifest.yaml": extension("a")})
    path = project / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(outside / "manifest.yaml" if link.endswith("yaml") else outside)

    assert refused(project) == (
        Kind.NO_SUCH_PACKAGE,
        "extensions/a/manifest.yaml leads outside the project",
    )


def test_a_core_that_lies_outside_the_project_is_refused(project: Path) -> None:
    write(project, {"extensions/a/manifest.yaml": extension("a", enabled=False)})
    (project / "core").rename(project.parent / "core")
    (project / "core").symlink_to("../core")

    assert refused(project) == (
        Kind.MANIFEST_BROKEN,
        "core/Cargo.toml leads outside the project",
    )


def test_links_that_go_round_and_folders_of_others_are_passed_by(project: Path) -> None:
    write(
        project,
        {
            "extensions/a/manifest.yaml": extension("a", enabled=False),
            "extensions/a/target/manifest.yaml": "not: ours",
            "extensions/a/node_modules/x/manifest.yaml": "not: ours",
            "extensions/.git/manifest.yaml": "not: ours",
        },
    )
    (project / "extensions/a/round").symlink_to("..")
    (project / "extensions/a/self").symlink_to("self")
    (project / "extensions/a/root").symlink_to("/")

    assert crates(project) == (CORE, TOOLS)


def test_a_pipe_in_a_manifest_s_place_does_not_hang(project: Path) -> None:
    (project / "core/Cargo.toml").unlink()
    os.mkfifo(project / "core/Cargo.toml")
    write(project, {"extensions/a/manifest.yaml": extension("a", enabled=False)})

    assert refused(project)[1] == "core/Cargo.toml does not exist, or is no file"


@pytest.mark.parametrize(
    ("lock", "found"),
    [(None, True), ('[[package]]\nname = "serde"\n', False), ('name = "sqlx-macros"\n', True)],
)
def test_a_lock_file_tells_whether_a_package_is_used(
    tmp_path: Path, lock: str | None, found: bool
) -> None:
    if lock is not None:
        (tmp_path / "Cargo.lock").write_text(lock)

    assert locks_package(tmp_path, "sqlx") is found
