"""The direct builder against a registry that does as the specification says, and one that does not."""

import gzip
import io
import json
import os
import resource
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from deployer.adapters.clock import SystemClock
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.codec import Codec, next_codec
from deployer.adapters.direct.cupboard import Cupboard
from deployer.events import Progress, Warned
from deployer.failures import Failure, Kind
from deployer.names import ImageRef
from deployer.states.flow import State
from tests.fakes.direct import DOCKERFILE, TAG, base_layer, place
from tests.servers.registry import MemoryRegistry, error, memory_registry, sha, with_base

pytestmark = pytest.mark.anyio
# Two groups for one user: the one of /etc/passwd, and the one of the same name.
ACCOUNTS = {"etc/passwd": "bob:x:1000:100::/:/bin/sh\n", "etc/group": "bob:x:1000:\n"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    (project / "bin").mkdir(parents=True)
    (project / "Dockerfile").write_text(DOCKERFILE)
    (project / "notes.txt").write_text("notes")
    for name in ("one", "two"):
        # Random, so that no codec makes it small.
        (project / "bin" / name).write_bytes(os.urandom(1_500_000))
    return project


def layers_of(registry: MemoryRegistry, tag: str = "v1") -> list[str]:
    manifest = json.loads(registry.manifests[tag][1])
    return [layer["digest"] for layer in manifest["layers"]]


def members(registry: MemoryRegistry, tag: str = "v1") -> Iterator[str]:
    for digest in layers_of(registry, tag)[1:]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(registry.blobs[digest]))) as tar:
            yield from tar.getnames()


# What comes out


async def test_the_manifest_names_each_layer_and_the_config(root: Path) -> None:
    async with place(root) as here:
        image = await here.image()
        digest = await here.push()

        manifest = json.loads(here.registry.manifests["v1"][1])
        assert digest == sha(here.registry.manifests["v1"][1])
        assert manifest["config"]["digest"] == image.image_id
        assert sorted(members(here.registry)) == [
            *("app", "app/bin", "app/bin/one", "app/bin/two", "app/notes.txt"),
        ]


async def test_equal_inputs_give_an_equal_digest_on_another_machine(
    root: Path, tmp_path: Path
) -> None:
    async with place(root, tmp_path / "here") as one, place(root, tmp_path / "there") as other:
        assert await one.pushed() == await other.pushed()


async def test_times_make_no_difference(root: Path) -> None:
    async with place(root) as here:
        before = await here.image()
        os.utime(root / "bin/one", (1, 1))

        assert (await here.image()).image_id == before.image_id


async def test_a_changed_byte_makes_another_image(root: Path) -> None:
    async with place(root) as here:
        before = await here.image()
        (root / "notes.txt").write_text("other")

        assert (await here.image()).image_id != before.image_id


# What is not sent again


async def test_a_second_push_sends_nothing(root: Path) -> None:
    async with place(root) as here:
        first = await here.pushed()
        sent = here.registry.received

        assert await here.push() == first
        assert here.registry.received == sent


async def test_only_the_layer_that_changed_is_sent(root: Path) -> None:
    async with place(root) as here:
        await here.pushed()
        sent = here.registry.received
        (root / "notes.txt").write_text("other")

        await here.pushed()

        assert here.registry.received - sent < 20_000


async def test_the_next_process_goes_on_with_the_recipe(root: Path) -> None:
    async with place(root) as here:
        image = await here.image()
        another = replace(
            here,
            builder=DirectBuilder(
                here.builder._http,
                cupboard=Cupboard(root.parent / "state"),
                clock=SystemClock(),
            ),
        )

        assert await another.builder.image_id(TAG) == image.image_id
        assert isinstance(await another.push(), str)


async def test_an_image_whose_sources_changed_is_gone(root: Path) -> None:
    async with place(root) as here:
        await here.image()
        (root / "notes.txt").write_text("other")

        assert await here.builder.image_id(TAG) is None


async def test_a_forgotten_image_is_gone(root: Path) -> None:
    async with place(root) as here:
        await here.image()

        await here.builder.forget([TAG])

        assert await here.builder.image_id(TAG) is None


async def test_sources_that_change_after_the_image_are_not_pushed(root: Path) -> None:
    async with place(root) as here:
        await here.image()
        (root / "bin/one").write_bytes(os.urandom(1_500_000))

        failure = await here.push()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.IMAGE_NOT_LOCAL
        assert "v1" not in here.registry.manifests


# Registries


@pytest.mark.parametrize("cuts", [[1], [700_000], [2_500_000], [100_000, 700_000, 900_000]])
async def test_a_cut_upload_goes_on_where_the_registry_stands(root: Path, cuts: list[int]) -> None:
    async with place(root, cut_after=list(cuts)) as here:
        await here.pushed()

        # The memory registry keeps what it read: each byte is sent once, but for what was on its way.
        assert here.registry.received < 3_200_000
        assert sorted(members(here.registry))[3] == "app/bin/two"


async def test_an_upload_that_the_registry_forgot_begins_again(root: Path) -> None:
    async with place(root, cut_after=[700_000], forgets_cut=True) as here:
        await here.pushed()

        assert here.registry.received < 3_200_000 + 700_000


async def test_an_upload_whose_offset_the_registry_disputes_begins_again(root: Path) -> None:
    async with place(root, cut_after=[700_000]) as here:
        await here.image()
        here.registry.answers = {"GET": [error(416, "RANGE_INVALID")]}

        assert isinstance(await here.push(), str)


async def test_an_upload_that_the_registry_forgets_twice_is_a_cut_push(root: Path) -> None:
    async with place(root, cut_after=[700_000] * 2, forgets_cut=True) as here:
        await here.image()

        failure = await here.push()

        assert isinstance(failure, Failure)
        assert failure.kind in (Kind.PUSH_CUT, Kind.REGISTRY_UNAVAILABLE)
        assert isinstance(await here.push(), str)


async def test_a_registry_without_chunks_gets_bodies_of_known_length(root: Path) -> None:
    async with place(root, refuses_chunks=True) as here:
        await here.pushed()

        assert sorted(members(here.registry))[3] == "app/bin/two"


async def test_a_token_is_fetched_and_serves_all_requests(root: Path) -> None:
    async with place(root) as here:
        await here.image()
        here.registry.tokens = True

        assert isinstance(await here.push(), str)
        fetched = [each for each in here.registry.asked if each.startswith("GET /token")]
        assert fetched == ["GET /token repository:app:pull,push"]


async def test_a_token_that_ends_before_the_body_is_renewed(root: Path) -> None:
    async with place(root) as here:
        await here.image()
        here.registry.tokens = here.registry.expires_at_patch = True

        assert isinstance(await here.push(), str)


async def test_a_digest_that_the_registry_makes_up_is_a_mismatch(root: Path) -> None:
    async with place(root, lies=True) as here:
        await here.image()

        failure = await here.push()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.DIGEST_MISMATCH


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: error(429, "TOOMANYREQUESTS"), Kind.REGISTRY_RATE_LIMIT),
        (lambda: error(503, "UNAVAILABLE"), Kind.REGISTRY_UNAVAILABLE),
        (lambda: error(403, "DENIED"), Kind.REPOSITORY_DENIED),
        (lambda: error(401, "UNAUTHORIZED"), Kind.REGISTRY_AUTH),
        (
            lambda: web.Response(status=500, text="mkdir /x: no space left on device"),
            Kind.REGISTRY_DISK_FULL,
        ),
        (lambda: web.Response(status=413, text="<html>"), Kind.NOT_A_REGISTRY),
    ],
)
async def test_a_refused_body_is_the_failure_that_it_says(
    root: Path, answer: Callable[[], web.Response], kind: Kind
) -> None:
    async with place(root) as here:
        await here.image()
        here.registry.answers = {"PATCH": [answer() for _ in range(9)]}

        failure = await here.push()

        assert isinstance(failure, Failure)
        assert failure.kind is kind
        assert "v1" not in here.registry.manifests


async def test_the_login_does_not_follow_an_upload_to_another_host(root: Path) -> None:
    async with place(root, location_host="registry.elsewhere.example") as here:
        await here.image()

        failure = await here.push()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.REALM_FOREIGN


async def test_a_login_is_never_used_at_another_registry(root: Path) -> None:
    async with place(root) as here:
        await here.image()
        login = replace(here.login, registry="registry.fly.io")

        failure = await here.builder.push(TAG, here.target, login, here.told.append)

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.REGISTRY_AUTH


async def test_progress_is_told_in_bytes(root: Path) -> None:
    async with place(root) as here:
        await here.pushed()

        moved = [each for each in here.told if isinstance(each, Progress)]
        assert max(each.done for each in moved) > 2_000_000


# Base images


async def test_a_base_that_is_not_there_is_not_found(root: Path) -> None:
    async with place(root) as here:
        here.registry.manifests.clear()

        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.BASE_NOT_FOUND


async def test_a_known_base_is_used_while_its_registry_is_away(root: Path) -> None:
    async with place(root) as here:
        before = await here.image()
        here.registry.answers = {"HEAD": [error(503, "UNAVAILABLE")]}

        assert (await here.image()).image_id == before.image_id
        assert any(isinstance(each, Warned) for each in here.told)


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (error(401, "UNAUTHORIZED"), Kind.BASE_NOT_FOUND),
        (error(403, "DENIED"), Kind.BASE_NOT_FOUND),
        (error(503, "UNAVAILABLE"), Kind.BASE_UNREACHABLE),
    ],
)
async def test_a_base_that_is_refused_while_it_is_copied_is_not_blamed_on_the_login(
    root: Path, refusal: web.Response, kind: Kind
) -> None:
    async with place(root) as here, memory_registry() as target:
        await here.image()
        here.registry.answers = {"GET": [refusal]}
        login = replace(here.login, registry=target.address)
        ref = ImageRef(target.address, "app", "v1")

        failure = await here.builder.push(TAG, ref, login, here.told.append)

        assert isinstance(failure, Failure)
        assert (failure.kind, failure.phase) == (kind, State.PUSHING)
        assert "library/base" in failure.cause


async def test_a_base_for_another_machine_is_refused(root: Path) -> None:
    async with place(root) as here:
        with_base(here.registry, base_layer(), architecture="arm64")

        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.WRONG_PLATFORM


async def test_an_index_is_followed_to_linux_amd64(root: Path) -> None:
    async with place(root) as here:
        kind, body = here.registry.manifests["1"]
        arm = {"digest": "sha256:" + "1" * 64, "platform": {"os": "linux", "architecture": "arm64"}}
        amd = {"digest": sha(body), "platform": {"os": "linux", "architecture": "amd64"}}
        index = json.dumps({"schemaVersion": 2, "manifests": [arm, amd]}).encode()
        found = ("application/vnd.oci.image.index.v1+json", index)
        here.registry.manifests |= {"1": found, sha(index): found, sha(body): (kind, body)}

        await here.pushed()


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"config": {"OnBuild": ["RUN x"]}}, "ONBUILD"),
        ({"rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}, "unpacks to something else"),
        ({"rootfs": {"diff_ids": []}}, "differ in their layers"),
    ],
)
async def test_a_base_that_cannot_be_built_on_needs_an_engine(
    root: Path, config: dict[str, object], cause: str
) -> None:
    async with place(root) as here:
        with_base(here.registry, base_layer(), **config)

        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.NEEDS_ENGINE
        assert "line 1" in failure.cause
        assert cause in failure.cause


async def test_a_layer_with_other_bytes_than_its_digest_is_refused(root: Path) -> None:
    async with place(root) as here:
        layer = next(iter(here.registry.blobs))
        here.registry.blobs[layer] = b"garbage"

        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.BASE_UNREACHABLE


async def test_a_base_layer_without_an_end_is_read_as_far_as_its_manifest_says(root: Path) -> None:
    async with place(root) as here:
        layer = next(iter(here.registry.blobs))
        here.registry.blobs[layer] += bytes(1 << 20)

        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.BASE_UNREACHABLE
        assert "has more than the" in failure.cause


async def test_a_full_disk_below_a_base_layer_is_said(root: Path) -> None:
    async with place(root) as here:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        try:
            failure = await here.build()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.STATE_IO
        assert "cannot be written: File too large" in failure.cause


async def test_what_a_base_layer_implies_is_a_directory_in_which_a_copy_lands(root: Path) -> None:
    (root / "Dockerfile").write_text("FROM base:1\nCOPY notes.txt /opt/bin\nWORKDIR /opt/bin\n")
    async with place(root) as here:
        with_base(here.registry, base_layer(files={"opt/bin/tool": "t"}))

        await here.pushed()

        _base, *ours = layers_of(here.registry)
        (layer,) = ours  # WORKDIR has nothing to make
        with tarfile.open(fileobj=io.BytesIO(here.registry.blobs[layer])) as tar:
            assert tar.getnames() == ["opt/bin/notes.txt"]


async def test_a_name_in_the_base_that_is_no_text_is_no_hindrance(root: Path) -> None:
    async with place(root) as here:
        with_base(here.registry, base_layer(files={"caf\udce9/x": "t"}))

        await here.pushed()


@pytest.mark.parametrize("form", [r'CMD ["\ud800"]', r'COPY ["notes.txt\u0000", "/x"]'])
async def test_what_no_path_and_no_word_can_hold_is_a_syntax_error(root: Path, form: str) -> None:
    (root / "Dockerfile").write_text(f"FROM base:1\n{form}\n")
    async with place(root) as here:
        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.DOCKERFILE_SYNTAX
        assert "line 2" in failure.cause


async def test_a_registry_that_sends_a_head_elsewhere_has_the_blob(root: Path) -> None:
    async with place(root) as here:
        first = await here.pushed()
        elsewhere = {"location": "https://bucket.example/x"}
        here.registry.answers["HEAD"] = [
            web.Response(status=307, headers=elsewhere) for _ in range(9)
        ]

        assert await here.pushed() == first


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("COPY notes.txt /bin/", "/bin is a link"),
        ("COPY notes.txt /bin/x", "/bin is a link"),
        ("WORKDIR /bin/x", "/bin is a link"),
        ("COPY bin /usr\nCOPY notes.txt /usr/one/x", "line 3: /usr/one is a file"),
        ("COPY --chown=somebody notes.txt /x", "no 'somebody'"),
        ("COPY --chmod=u+x notes.txt /x", "no octal mode"),
        ("COPY bin notes.txt /x", "does not end with a slash"),
        ("COPY .wh.x /x/", "deletes a file"),
        ("EXPOSE http", "EXPOSE http"),
        ("USER 7\nWORKDIR /a/b", "line 3: who owns /a after USER 7 differs between builders"),
        ("COPY --chown=7 bin /a/b/c", "line 2: who owns /a/b under --chown differs"),
        ("ENV X=1\nARG X=2", "line 3: ARG X is an ENV already, and which one wins differs"),
        (
            "ARG A=1 B=${A}",
            "line 2: ARG A=1 B=${A}: whether B sees what the same line sets differs",
        ),
        ("ARG A=1\nARG A", "line 3: ARG A had a value, and whether it still has it differs"),
        ("COPY notes.txt .", "/w is no directory yet, and what `.` means then differs between"),
        ("COPY --chown=bob notes.txt /x", "the group that --chown=bob means differs between"),
        ("ENV =x", "ENV wants a name"),
        ("EXPOSE", "at least one port"),
        ("HEALTHCHECK NONE x", "wants NONE, or CMD with a command"),
        ("HEALTHCHECK --retries=0 CMD x", "not at least 1"),
        ("HEALTHCHECK --interval=1us CMD x", "less than 1ms"),
        ("HEALTHCHECK --interval=soon CMD x", "no duration"),
        ("STOPSIGNAL SIGNOTHING", "no signal"),
        ("ARG TARGETARCH", "another value in each builder"),
    ],
)
async def test_what_depends_on_the_base_is_refused_with_its_line(
    root: Path, line: str, cause: str
) -> None:
    (root / "Dockerfile").write_text(f"FROM base:1\n{line}\n")
    (root / ".wh.x").touch()
    async with place(root) as here:
        with_base(
            here.registry, base_layer(link="bin", files=ACCOUNTS), config={"WorkingDir": "/w"}
        )

        foreseen = await here.builder.foresee(here.order, frozenset(), here.told.append)
        failure = await here.build()

        assert isinstance(failure, Failure)
        assert failure.kind is Kind.NEEDS_ENGINE
        assert failure.cause.startswith("line ")
        assert cause in failure.cause
        assert foreseen == failure


async def test_binaries_that_are_still_to_be_made_are_foreseen(root: Path) -> None:
    (root / "Dockerfile").write_text("FROM base:1\nCOPY target/release/app /app/\n")
    async with place(root) as here:
        pending = frozenset({"target/release/app"})

        assert await here.builder.foresee(here.order, pending, here.told.append) is None


# Codecs


@pytest.mark.parametrize(
    ("used", "starved", "blocked", "then"),
    [
        (Codec.SMALL, 3.0, 1.0, Codec.FAST),
        (Codec.SMALL, 1.0, 3.0, Codec.SMALL),
        (Codec.FAST, 1.0, 4.0, Codec.SMALL),
        (Codec.FAST, 1.0, 2.0, Codec.FAST),
    ],
)
def test_the_codec_follows_who_waits(
    used: Codec, starved: float, blocked: float, then: Codec
) -> None:
    assert next_codec(used, starved, blocked) is then


@pytest.mark.parametrize("codec", Codec)
def test_each_codec_is_gzip_and_always_the_same(codec: Codec) -> None:
    data = bytes(range(256)) * 1000

    packed = []
    for _ in range(2):
        compressor = codec.compressor()
        packed.append(compressor.compress(data) + compressor.flush())

    assert packed[0] == packed[1]
    assert gzip.decompress(packed[0]) == data
