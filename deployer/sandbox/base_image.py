"""The Dockerfile's base image, made from the distribution's own packages if none can be pulled."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from deployer.sandbox.child import output
from deployer.sandbox.engine_api import EngineApi, EngineError
from deployer.sandbox.making import making
from deployer.sandbox.options import Options
from deployer.sandbox.packages import Apt, can_fetch
from deployer.sandbox.refusal import Refused, Say
from deployer.sandbox.shelf import Shelf, ShelfError

NAME: Final = "debian:bookworm-slim"
PULL_SECONDS: Final = 45.0
_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
# What a dynamically linked Rust program and a RUN step need; apt adds what these need.
PACKAGES: Final = (
    "base-files",
    "base-passwd",
    "libc6",
    "libgcc-s1",
    "dash",
    "coreutils",
    "ca-certificates",
)
_ACCOUNTS: Final = (
    "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
)


async def ensure_base_image(api: EngineApi, options: Options, say: Say) -> bool:
    """Have the base image at the engine; whether it was made here. Raises Refused."""
    if await api.has_image(NAME):
        return False
    if await _pulled(api):
        say(f"Pulled {NAME}")
        return False
    archive = await _archive(options)
    await api.import_image(archive, NAME, ["/bin/sh"])
    say(f"{NAME} cannot be pulled here: made a small one from the distribution's packages")
    return True


async def _archive(options: Options) -> Path:
    """The small base image's root file system, as a tar. Raises Refused."""
    archive = options.cache / "base-image.tar"
    if not archive.exists():
        if not can_fetch(options.environ):
            raise Refused(
                f"{NAME} can neither be pulled nor be made here (that needs Debian or "
                "Ubuntu): check the network, or load the image into the engine."
            )
        await _make(archive, Apt(options.environ))
    return archive


async def write_base_image(shelf: Shelf, options: Options) -> None:
    """Have our own small base image in the sandbox's registry, without any engine.

    Raises Refused.
    """
    repository, _, tag = NAME.partition(":")
    if await shelf.digest(f"library/{repository}", tag) is not None:
        return
    plain = await anyio.Path(await _archive(options)).read_bytes()
    packed = await anyio.to_thread.run_sync(partial(gzip.compress, plain, 1, mtime=0))
    try:
        await _write(shelf, f"library/{repository}", tag, plain, packed)
    except ShelfError as error:
        raise Refused(f"{NAME} cannot be put into the sandbox's registry: {error}") from error


async def _write(shelf: Shelf, repository: str, tag: str, plain: bytes, packed: bytes) -> None:
    diff_id = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    described = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    config = json.dumps(described).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(config),
            "digest": await shelf.keep(repository, config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(packed),
                "digest": await shelf.keep(repository, packed),
            }
        ],
    }
    await shelf.name(repository, tag, _MANIFEST, json.dumps(manifest).encode())


async def publish_base_image(api: EngineApi, shelf: Shelf) -> None:
    """Have the engine's base image in the sandbox's registry, for builds without an engine.

    Raises Refused.
    """
    repository, _, tag = NAME.partition(":")
    if await shelf.digest(f"library/{repository}", tag) is not None:
        return
    try:
        await api.push(NAME, shelf.address)
    except EngineError as error:
        raise Refused(f"{NAME} cannot be put into the sandbox's registry: {error}") from error


async def _pulled(api: EngineApi) -> bool:
    try:
        with anyio.fail_after(PULL_SECONDS):
            await api.pull(NAME)
    except (EngineError, TimeoutError):
        return False
    return await api.has_image(NAME)


async def _make(archive: Path, apt: Apt) -> None:
    async with making(archive) as folder:
        if folder is not None:
            await _root_file_system(folder, apt)
            done = folder / "image.tar"
            # Root's, whoever unpacked them.
            argv = ["tar", "-C", str(folder / "root"), "--owner=root:0", "--group=root:0"]
            await output([*argv, "-cf", str(done), "."], what="tar")
            await anyio.Path(done).rename(archive)


async def _root_file_system(folder: Path, apt: Apt) -> None:
    root, nothing_installed = folder / "root", folder / "status"
    await anyio.to_thread.run_sync(_merge_usr, root)
    await anyio.Path(nothing_installed).touch()
    archives = await apt.download(PACKAGES, folder / "archives", installed=nothing_installed)
    for each in archives:
        await _unpack(each, root)
    await anyio.to_thread.run_sync(_finish, root)


def _merge_usr(root: Path) -> None:
    # Made first, so that packages of before and after the merge land in the same folders.
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")


async def _unpack(archive: Path, root: Path) -> None:
    # dpkg-deb's own -x would replace the links by folders.
    tar = root.with_name("package.tar")
    tar.write_bytes(await output(["dpkg-deb", "--fsys-tarfile", str(archive)], what="dpkg-deb"))
    argv: Sequence[str] = (
        *("tar", "-C", str(root), "--keep-directory-symlink", "-xf", str(tar)),
        *("--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*"),
        "--exclude=./usr/share/locale/*",
    )
    await output(argv, what=f"Unpacking {archive.name}")


def _finish(root: Path) -> None:
    """Do what the packages' own scripts would do at installation."""
    etc = root / "etc"
    bundle = etc / "ssl" / "certs" / "ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    (etc / "passwd").write_text(_ACCOUNTS)
    (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    shell = root / "usr" / "bin" / "sh"
    if not shell.is_symlink():
        shell.symlink_to("dash")
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle.write_text("".join(each.read_text() for each in certificates))
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
