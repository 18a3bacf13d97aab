"""The build context, against real directories."""

import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from deployer.adapters.context.build_context import BuildContext, PackedContext, PlannedContext
from deployer.adapters.context.entries import Entry
from deployer.adapters.context.project_tree import Node
from deployer.adapters.context.tar import ChangedError, UnreadableError, write_tar
from deployer.failures import Failure, Kind
from deployer.ports import ContextSummary, ImageOrder
from deployer.states.flow import State
from tests.fakes.contexts import packed_context

pytestmark = pytest.mark.anyio

DOCKERFILE = ".systemprompt/Dockerfile"
CANARY = "canary-outside"

Write = Callable[[str, str], None]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text(CANARY)
    return root


@pytest.fixture
def write(project: Path) -> Write:
    def put(path: str, content: str = "x") -> None:
        place = project / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    return put


def order(project: Path, copies: str, dockerfile: str = DOCKERFILE) -> ImageOrder:
    place = project / dockerfile
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"FROM debian\n{copies}\n")
    return ImageOrder(project_root=project, dockerfile=Path(dockerfile), local_tag="local:1")


async def members(order: ImageOrder) -> dict[str, tarfile.TarInfo]:
    packed = await packed_context(order)
    assert isinstance(packed, PackedContext), packed
    with packed, tarfile.open(fileobj=packed.file) as tar:
        return {member.name: member for member in tar}


async def files(order: ImageOrder) -> set[str]:
    found = await members(order)
    return {name for name, member in found.items() if not member.isdir()} - {DOCKERFILE}


async def refusal(order: ImageOrder, *pending: str) -> Failure:
    outcome = await BuildContext().survey(order, frozenset(pending))
    assert isinstance(outcome, Failure), outcome
    assert outcome.phase is State.IMAGING
    return outcome


async def accepted(order: ImageOrder, *pending: str) -> ContextSummary:
    outcome = await BuildContext().survey(order, frozenset(pending))
    assert isinstance(outcome, ContextSummary), outcome
    return outcome


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_only_what_is_copied_is_sent(project: Path, write: Write) -> None:
    for path in ("target/release/app", "target/release/deps/big", ".git/HEAD", "src/main.rs"):
        write(path, "x")
    write("services/a.yaml", "x")
    write("services/deep/b.yaml", "x")

    sent = await members(order(project, "COPY target/release/app /a/\nCOPY services/ /s/"))

    assert list(sent) == [
        ".systemprompt",
        DOCKERFILE,
        "services",
        "services/a.yaml",
        "services/deep",
        "services/deep/b.yaml",
        "target",
        "target/release",
        "target/release/app",
    ]


async def test_equal_files_give_equal_bytes(project: Path, write: Write) -> None:
    write("app", "x")
    wanted = order(project, "COPY app /a/")

    async def bytes_of() -> bytes:
        packed = await packed_context(wanted, BuildContext(mtime=7))
        assert isinstance(packed, PackedContext)
        with packed:
            return packed.file.read()

    first = await bytes_of()
    os.utime(project / "app", (1, 1))
    (project / "app").chmod(0o600)

    assert await bytes_of() == first


async def test_owner_mode_and_time_are_the_same_everywhere(project: Path, write: Write) -> None:
    write("plain", "x")
    write("tool", "x")
    (project / "plain").chmod(0o666)
    (project / "tool").chmod(0o4777)

    sent = await members(order(project, "COPY plain tool /a/"))

    assert {name: oct(sent[name].mode) for name in ("plain", "tool", ".systemprompt")} == {
        "plain": "0o644",
        "tool": "0o755",
        ".systemprompt": "0o755",
    }
    assert {(one.uid, one.gid, one.uname, one.mtime) for one in sent.values()} == {(0, 0, "", 0)}


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        ("COPY target/release/systemprompt /a/", Kind.BINARY_MISSING),
        ("COPY target/release/mcp-* /a/", Kind.BINARY_MISSING),
        ("COPY core/web/dist/ /w/", Kind.WEB_DIST_MISSING),
        ("COPY core/web/dist/app.js /w/", Kind.WEB_DIST_MISSING),
        ("COPY services/ /s/", Kind.SOURCE_MISSING),
        ("COPY services/*.yaml /s/", Kind.SOURCE_MISSING),
        ("COPY services/[ /s/", Kind.DOCKERFILE_SYNTAX),
    ],
)
async def test_what_is_missing_decides_the_remedy(project: Path, copy: str, kind: Kind) -> None:
    failure = await refusal(order(project, copy))

    assert failure.kind is kind
    assert failure.cause.startswith("Dockerfile line 2: COPY ")


async def test_what_building_will_make_is_not_missing(project: Path, write: Write) -> None:
    write("target/release/.keep", "")
    copies = "\n".join(
        f"COPY {source} /a/"
        for source in ("target/release/app", "target/release/ap*", "target/release/", ".")
    )

    await accepted(order(project, copies), "target/release/app")

    (project / "target/release/.keep").unlink()
    (project / "target/release").rmdir()
    await accepted(order(project, copies), "target/release/app")
    assert (await refusal(order(project, copies))).kind is Kind.BINARY_MISSING


async def test_a_pending_binary_is_still_subject_to_the_ignore_file(
    project: Path, write: Write
) -> None:
    write(".dockerignore", "target\n")
    copy = "COPY target/release/app /a/"

    failure = await refusal(order(project, copy), "target/release/app")

    assert failure.kind is Kind.SOURCE_IGNORED
    assert failure.cause.endswith("ignores target/release/app by the rule target")


@pytest.mark.parametrize("copy", ["COPY core/web/dist/ /w/", "COPY core/web/dist/* /w/"])
async def test_web_dist_without_an_index_is_missing(project: Path, write: Write, copy: str) -> None:
    write("core/web/dist/app.js", "x")
    assert (await refusal(order(project, copy))).kind is Kind.WEB_DIST_MISSING

    write("core/web/dist/index.html", "x")
    await accepted(order(project, copy))

    write(".dockerignore", "**/*.html\n")
    assert (await refusal(order(project, copy))).kind is Kind.SOURCE_IGNORED


async def test_an_empty_web_dist_is_missing(project: Path) -> None:
    (project / "core/web/dist").mkdir(parents=True)

    failure = await refusal(order(project, "COPY core/web/dist /w/"))

    assert failure.kind is Kind.WEB_DIST_MISSING


async def test_an_ignored_source_names_file_and_rule(project: Path, write: Write) -> None:
    write("docs/a.md", "x")
    write(".dockerignore", "*.txt\ndocs/**\n")

    for copy in ("COPY docs/a.md /d/", "COPY docs/*.md /d/"):
        failure = await refusal(order(project, copy))
        assert failure.kind is Kind.SOURCE_IGNORED
        assert failure.cause.endswith(".dockerignore ignores docs/a.md by the rule docs/**")


async def test_a_pattern_does_not_see_what_is_ignored(project: Path, write: Write) -> None:
    write("conf/a", "x")
    write("link-target.txt", "x")
    (project / "conf/local").symlink_to("/etc/hostname")
    (project / "conf/env").symlink_to("../.env")
    (project / "conf/kept").symlink_to("../link-target.txt")
    write(".env", "x")
    write(".dockerignore", "conf/local\nconf/env\nconf/kept\n.env\n")

    found = await files(order(project, "COPY conf/* /x/"))

    assert found == {"conf/a", ".dockerignore"}


async def test_the_ignore_file_of_the_dockerfile_replaces_the_common_one(
    project: Path, write: Write
) -> None:
    write(".dockerignore", "a\n")
    write(f"{DOCKERFILE}.dockerignore", "d/skip\n")
    for path in ("a", "d/skip", "d/keep"):
        write(path, "x")

    sent = await files(order(project, "COPY a d /x/"))

    assert sent == {"a", "d/keep", f"{DOCKERFILE}.dockerignore"}


async def test_rules_can_let_paths_in_again(project: Path, write: Write) -> None:
    write(".dockerignore", "d\n!d/in/keep\n")
    for path in ("d/skip", "d/in/keep", "d/in/skip"):
        write(path, "x")

    wanted = order(project, "COPY d /x/\nCOPY d /y/")

    assert await files(wanted) == {".dockerignore", "d/in/keep"}


async def test_a_broken_rule_is_named(project: Path, write: Write) -> None:
    write(".dockerignore", "a[\n")

    failure = await refusal(order(project, "COPY a /x/"))

    assert failure.kind is Kind.CONFIGURATION
    assert failure.cause.startswith(".dockerignore: Invalid ignore pattern 'a['")


SECRETS = [
    ".env",
    "services/.env.local",
    ".git/config",
    ".systemprompt/credentials.json",
    ".systemprompt/tenants.json",
    ".systemprompt/profiles/prod/secrets.json",
    ".systemprompt/profiles/prod/signing_key.pem",
    ".systemprompt/sessions/one",
    "services/Secrets.JSON",
    "keys/id_ed25519",
]


@pytest.mark.parametrize("secret", SECRETS)
async def test_a_secret_that_is_named_stops_the_build(
    project: Path, write: Write, secret: str
) -> None:
    write(secret, "x")

    failure = await refusal(order(project, f"COPY {secret} /x/"))

    assert failure.kind is Kind.SOURCE_FORBIDDEN
    assert secret in failure.cause
    assert failure.cause.startswith("Dockerfile line 2: COPY")


async def test_a_secret_reached_through_a_link_stops_the_build(project: Path, write: Write) -> None:
    write(".env", "x")
    (project / "harmless").symlink_to(".env")

    failure = await refusal(order(project, "COPY harmless /x/"))

    assert failure.kind is Kind.SOURCE_FORBIDDEN


async def test_secrets_inside_copied_directories_are_left_out(project: Path, write: Write) -> None:
    for secret in SECRETS:
        write(secret, "x")
    write("services/ok.yaml", "x")
    write("keys/id_ed25519.pub", "x")
    wanted = order(project, "COPY . /x/\nCOPY services/* /y/")

    sent = await files(wanted)
    summary = await accepted(wanted)

    assert sent == {"services/ok.yaml", "keys/id_ed25519.pub"}
    assert summary.warnings[0].startswith("left out of the image")
    assert ".env" in summary.warnings[0]


async def test_an_ignored_secret_is_no_news(project: Path, write: Write) -> None:
    write(".env", "x")
    write(".dockerignore", ".env\n")

    summary = await accepted(order(project, "COPY . /x/"))

    assert summary.warnings == ()


@pytest.mark.parametrize(
    ("link", "target", "copy"),
    [
        ("up", "../outside/secret", "COPY up /x/"),
        ("abs", "{outside}/secret", "COPY abs /x/"),
        ("dir", "../outside", "COPY dir/secret /x/"),
        ("dir", "{outside}", "COPY dir/* /x/"),
        ("target", "{outside}", "COPY target/release/app /x/"),
        ("d/deep", "../../outside", "COPY d/deep/secret /x/"),
    ],
)
async def test_a_source_that_leads_outside_is_refused(
    project: Path, write: Write, tmp_path: Path, link: str, target: str, copy: str
) -> None:
    (project / "d").mkdir()
    (project / link).symlink_to(target.format(outside=tmp_path / "outside"))

    failure = await refusal(order(project, copy), "target/release/app")

    assert failure.kind is Kind.SOURCE_OUTSIDE
    assert link in failure.cause


async def test_a_source_above_the_project_is_refused(project: Path) -> None:
    failure = await refusal(order(project, "COPY ../outside/secret /x/"))

    assert failure.kind is Kind.SOURCE_OUTSIDE


async def test_links_stay_links_and_never_carry_the_outside_in(
    project: Path, write: Write, tmp_path: Path
) -> None:
    write("d/real", "x")
    (project / "d/inner").symlink_to("real")
    (project / "d/up").symlink_to("../../outside/secret")
    (project / "d/abs").symlink_to(tmp_path / "outside")
    wanted = order(project, "COPY d /x/")

    sent = await members(wanted)
    planned = await BuildContext().plan(wanted)
    packed = await packed_context(wanted)

    assert sent["d/inner"].issym()
    assert sent["d/inner"].linkname == "real"
    assert {"d/up", "d/abs"}.isdisjoint(sent)
    assert isinstance(packed, PackedContext)
    with packed:
        assert CANARY.encode() not in packed.file.read()
    assert isinstance(planned, PlannedContext)
    assert "d/abs, d/up" in planned.summary.warnings[0]


async def test_a_named_link_brings_what_it_points_to(project: Path, write: Write) -> None:
    write("real/dir/file", "x")
    (project / "link").symlink_to("real/dir")

    assert await files(order(project, "COPY link /x/")) == {"link", "real/dir/file"}
    assert await files(order(project, "COPY link/f* /x/")) == {"link", "real/dir/file"}


async def test_links_in_a_circle_end(project: Path) -> None:
    (project / "a").symlink_to("b")
    (project / "b").symlink_to("a")

    failure = await refusal(order(project, "COPY a /x/"))

    assert failure.kind is Kind.CONTEXT_UNREADABLE
    assert "Too many levels of symbolic links" in failure.cause


@pytest.mark.parametrize("copy", ["COPY odd /x/", "COPY . /x/", "COPY o* /x/"])
async def test_fifos_and_sockets_are_refused_before_they_hang_a_build(
    project: Path, copy: str
) -> None:
    os.mkfifo(project / "odd")
    assert (await refusal(order(project, copy))).cause == "odd is a FIFO"

    (project / "odd").unlink()
    # Bound by a short relative name: a socket's path may have 107 bytes.
    here = Path.cwd()
    os.chdir(project)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("odd")
    finally:
        os.chdir(here)
    failure = await refusal(order(project, copy))
    assert (failure.kind, failure.cause) == (Kind.CONTEXT_UNREADABLE, "odd is a socket")


@pytest.mark.parametrize(
    ("dockerfile", "cause"),
    [
        ("none", "none does not exist"),
        ("dir", "dir is not a file"),
        ("fifo", "fifo is not a file"),
        ("../outside/secret", "../outside/secret does not lie in the project"),
        ("/etc/passwd", "/etc/passwd does not lie in the project"),
    ],
)
async def test_a_dockerfile_that_cannot_be_used_is_named(
    project: Path, dockerfile: str, cause: str
) -> None:
    (project / "dir").mkdir()
    os.mkfifo(project / "fifo")
    wanted = ImageOrder(project_root=project, dockerfile=Path(dockerfile), local_tag="x:1")

    failure = await refusal(wanted)

    assert (failure.kind, failure.cause) == (Kind.DOCKERFILE_MISSING, cause)


async def test_a_dockerfile_that_is_no_text_is_refused(project: Path) -> None:
    (project / "Dockerfile").write_bytes(b"FROM \xff\n")
    wanted = ImageOrder(project_root=project, dockerfile=Path("Dockerfile"), local_tag="x:1")

    assert (await refusal(wanted)).kind is Kind.DOCKERFILE_SYNTAX


async def test_a_syntax_error_names_dockerfile_and_line(project: Path) -> None:
    failure = await refusal(order(project, "COPPY a /x/"))

    assert failure.kind is Kind.DOCKERFILE_SYNTAX
    assert failure.cause.startswith(f"{DOCKERFILE}: ")
    assert "line 2" in failure.cause


async def test_a_large_context_names_its_largest_files(project: Path, write: Write) -> None:
    for number, megabytes in enumerate((1, 60, 20, 30, 10, 5)):
        write(f"d/{number}", "")
        os.truncate(project / f"d/{number}", megabytes * 1_000_000)

    summary = await accepted(order(project, "COPY d /x/"))

    assert summary.files == 7
    assert summary.sources == ("d",)
    assert summary.warnings == (
        "the build context has 126 MB; largest: "
        "d/1 (60 MB), d/3 (30 MB), d/2 (20 MB), d/4 (10 MB), d/5 (5 MB)",
    )


async def test_a_cancelled_pack_stops_and_leaves_no_file_open(project: Path, write: Write) -> None:
    write("big", "")
    os.truncate(project / "big", 4_000_000_000)
    before = open_files()

    with anyio.move_on_after(0.05) as scope, anyio.fail_after(1.0):
        await packed_context(order(project, "COPY big /x/"))

    assert scope.cancelled_caught
    assert open_files() == before


async def test_a_file_that_is_not_as_planned_is_refused(project: Path, write: Write) -> None:
    write("f", "four")
    plans = {
        "grown": Entry("f", Node.FILE, size=3),
        "gone": Entry("gone", Node.FILE, size=4),
        "behind a link": Entry("link/f", Node.FILE, size=4),
        "a link": Entry("leaf", Node.FILE, size=4),
        "a fifo": Entry("fifo", Node.FILE, size=0),
    }
    (project / "link").symlink_to(".")
    (project / "leaf").symlink_to("f")
    os.mkfifo(project / "fifo")

    for entry in plans.values():
        with (project / "out").open("wb") as out, pytest.raises(ChangedError):
            write_tar(project, [entry], out, 0)


async def test_a_file_that_shrinks_while_it_is_read_is_refused(project: Path, write: Write) -> None:
    write("f", "x" * 3_000_000)
    looks = 0

    def shrink() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            os.truncate(project / "f", 10)

    with (project / "out").open("wb") as out, pytest.raises(ChangedError):
        write_tar(project, [Entry("f", Node.FILE, size=3_000_000)], out, 0, shrink)


def test_a_file_is_read_in_large_pieces(project: Path, write: Write) -> None:
    write("f", "x" * 8_000_000)
    looks = 0

    def count() -> None:
        nonlocal looks
        looks += 1

    with (project / "out").open("wb") as out:
        write_tar(project, [Entry("f", Node.FILE, size=8_000_000)], out, 0, count)

    assert looks < 12


async def test_a_context_is_hardly_larger_than_its_sources(project: Path, write: Write) -> None:
    for number in range(4):
        write(f"target/release/program{number}", "x" * 1_500_000)
        write(f"target/release/deps/program{number}", "x" * 1_500_000)
        write(f".git/objects/{number}", "x" * 1_000_000)
    for number in range(40):
        write(f"core/web/dist/{number}.js", "x" * 29_000)
        write(f"services/{number}.yaml", "x" * 3_500)
    write("core/web/dist/index.html", "x" * 500)
    copies = "COPY target/release/program* /app/\nCOPY core/web/dist/ services/ /app/"

    packed = await packed_context(order(project, copies))

    assert isinstance(packed, PackedContext)
    with packed:
        assert packed.size <= 1.02 * (4 * 1_500_000 + 40 * 32_500 + 500)


def test_a_file_that_cannot_be_opened_is_named(project: Path) -> None:
    # No mode stops root; a name that no file system takes stops everyone.
    name = "n" * 300

    with (project / "out").open("wb") as out, pytest.raises(UnreadableError) as caught:
        write_tar(project, [Entry(name, Node.FILE, size=1)], out, 0)

    assert caught.value.error.filename == name


def test_a_full_disk_is_no_fault_of_the_files(project: Path, write: Write) -> None:
    write("big", "x" * 2_000_000)
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115  # closing may fail, too

    with pytest.raises(OSError, match="No space left"):
        write_tar(project, [Entry("big", Node.FILE, size=2_000_000)], full, 0)

    full.close()
