"""The binaries that cargo says it built: which ones are wanted, and do they hold up."""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from deployer.adapters.cargo import hashing
from deployer.adapters.cargo.hashing import Fingerprint, Hashes, Unusable
from deployer.adapters.cargo.messages import Artifact, package_name
from deployer.adapters.leaks import Leaks
from deployer.adapters.stamp import unsettled_seconds
from deployer.adapters.text import clean
from deployer.events import Warned
from deployer.failures import Failure, Kind
from deployer.model import Binary, Crate
from deployer.ports import Emit
from deployer.states.flow import State

Look = Callable[[Path, anyio.CapacityLimiter], Awaitable[Fingerprint | Unusable]]


@dataclass(frozen=True, slots=True)
class Product:
    """An executable that cargo reported, and the build that it came from."""

    crate: Crate
    artifact: Artifact

    @property
    def name(self) -> str:
        """The binary's name, the same as its file's."""
        return self.artifact.target.name

    @property
    def is_program(self) -> bool:
        """Whether it is a binary of its package, and no example or test."""
        return "bin" in self.artifact.target.kind

    @property
    def path(self) -> Path:
        """Where cargo put it; absolute."""
        return Path(self.artifact.executable or "")

    @property
    def package(self) -> str:
        """The name of the package that it belongs to."""
        return package_name(self.artifact.package_id)


async def prove(
    target: Path, crates: Sequence[Crate], products: Sequence[Product], hashes: Hashes, emit: Emit
) -> tuple[Binary, ...] | Failure:
    """The wanted ones of `products`, hashed. To be called when no build can change them any more."""
    if problem := _overwritten(products):
        return _failure(Kind.MANIFEST_BROKEN, problem)
    wanted = _wanted(crates, products)
    if isinstance(wanted, Failure):
        return wanted
    for path in (product.path for product in wanted):
        if problem := _misplaced(path, target):
            return _failure(Kind.BINARY_UNUSABLE, problem)
        _warn_of_another_place(path, target, emit)
    return _binaries(wanted, await _looked(hashes.of, [product.path for product in wanted]))


async def damaged(binaries: Sequence[Binary], hashes: Hashes) -> tuple[Binary, ...]:
    """Those of `binaries` that are not what they were."""
    found = await _looked(hashes.verified, [binary.path for binary in binaries])
    return tuple(
        binary
        for binary, now in zip(binaries, found, strict=True)
        if now != Fingerprint(binary.size, binary.sha256)
    )


async def leaking(binaries: Sequence[Binary], leaks: Leaks) -> Failure | None:
    """The failure of the first binary that holds one of `leaks`."""
    threads = hashing.limiter()
    for binary in binaries:
        try:
            leaks_it = await to_thread.run_sync(leaks.in_file, binary.path, limiter=threads)
        except OSError as error:
            cause = f"{clean(str(binary.path))} cannot be read: {error.strerror}"
            return _failure(Kind.BINARY_UNUSABLE, cause)
        if leaks_it:
            cause = (
                f"{binary.name} holds a password that this deploy knows (env! or a build script)"
            )
            return _failure(Kind.SECRET_IN_BINARY, cause)
    return None


async def look_early(
    path: Path, target: Path, hashes: Hashes, leaks: Leaks, threads: anyio.CapacityLimiter
) -> None:
    """Read what cargo has just named, while it goes on: what stays as it is is not read again."""
    if _misplaced(path, target):
        return
    await anyio.sleep(await to_thread.run_sync(_unsettled, path, limiter=threads))
    await hashes.of(path, threads)
    with suppress(OSError):  # the one that counts tells it
        await to_thread.run_sync(leaks.in_file, path, limiter=threads)


def _unsettled(path: Path) -> float:
    """For how many seconds a look at `path` would not count."""
    with suppress(OSError):
        return unsettled_seconds(path.stat().st_ctime_ns, time.time_ns() / 1e9)
    return 0.0


def left_over(binaries: Iterable[Binary]) -> Failure | None:
    """What `cargo clean` should have removed and did not."""
    for binary in binaries:
        if binary.path.exists():
            cause = f"cargo clean left {clean(str(binary.path))} in place"
            return _failure(Kind.BINARY_UNUSABLE, cause)
    return None


def _overwritten(products: Iterable[Product]) -> str | None:
    """Names the packages that put different programs into one file, where the last one stays."""
    owners: defaultdict[Path, dict[str, None]] = defaultdict(dict)
    for product in products:
        owners[product.path][product.package] = None
    for path, packages in owners.items():
        if len(packages) > 1:
            return clean(f"{path.name} is built by several packages: {', '.join(packages)}")
    return None


def _wanted(crates: Iterable[Crate], products: Sequence[Product]) -> tuple[Product, ...] | Failure:
    """Each crate's binaries, in the order in which it names them."""
    chosen: list[Product] = []
    for crate in crates:
        built = {each.name: each for each in products if each.crate == crate and each.is_program}
        names = crate.binaries or tuple(built)
        missing = ", ".join(name for name in names if name not in built)
        if missing or not names:
            which = f"no binary {missing}" if missing else "it has no binary"
            cause = f"cargo built the crate {crate.name}, but {which}"
            return _failure(Kind.BINARY_UNUSABLE, clean(cause))
        chosen += (built[name] for name in names)
    return tuple(chosen)


async def _looked(look: Look, paths: Sequence[Path]) -> list[Fingerprint | Unusable]:
    """The fingerprint of each path, in their order."""
    found: dict[Path, Fingerprint | Unusable] = {}
    threads = hashing.limiter()

    async def one(path: Path) -> None:
        found[path] = await look(path, threads)

    async with anyio.create_task_group() as group:
        for path in dict.fromkeys(paths):
            group.start_soon(one, path)
    return [found[path] for path in paths]


def _misplaced(path: Path, target: Path) -> str | None:
    # Whatever runs inside a build can print a message in cargo's name.
    if path.resolve().is_relative_to(target.resolve()):
        return None
    return f"{clean(str(path))} lies outside {clean(str(target))}"


def _warn_of_another_place(path: Path, target: Path, emit: Emit) -> None:
    """Tell of a build for an explicit target: the usual place may hold an older file."""
    if path.parent != target / "release":
        where = clean(str(path.relative_to(target.parent)))
        emit(
            Warned(
                text=f"cargo left {path.name} in {where}: the Dockerfile must copy it from there"
            )
        )


def _binaries(
    products: Iterable[Product], found: Iterable[Fingerprint | Unusable]
) -> tuple[Binary, ...] | Failure:
    binaries: list[Binary] = []
    for product, file in zip(products, found, strict=True):
        if isinstance(file, Unusable):
            cause = f"cargo built {clean(str(product.path))}, but it {file.reason}"
            return _failure(Kind.BINARY_UNUSABLE, cause)
        binaries.append(_binary(product, file))
    return tuple(binaries)


def _binary(product: Product, found: Fingerprint) -> Binary:
    return Binary(
        name=product.name,
        path=product.path,
        size=found.size,
        sha256=found.sha256,
        package=product.package,
        manifest=product.crate.manifest,
    )


def _failure(kind: Kind, cause: str) -> Failure:
    return Failure(phase=State.BUILDING, kind=kind, cause=cause)
