"""One image by the direct builder; as a program, also how much memory that takes."""

import json
import sys
import time
from pathlib import Path
from typing import Final, TypeVar

import anyio

from deployer.adapters.clock import SystemClock
from deployer.adapters.direct.ahead import Ahead
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.http.client import Http
from deployer.events import Transient
from deployer.failures import Failure
from deployer.model import Login, Secret
from deployer.names import ImageRef
from deployer.ports import ImageOrder

T = TypeVar("T")


PROGRAMS: Final = tuple(f"target/release/{name}" for name in ("main", "one", "two", "three"))
# deployer builds the crates one after the other; each takes this long here. That is little: small
# crates of the sandbox's project take a second each.
CRATE_SECONDS: Final = 0.5


async def directly(
    root: Path,
    registry: str,
    state: Path,
    http: Http,
    number: int,
    compiled: tuple[str, ...] = (),
) -> float:
    """Build and push once; the seconds that it took from the moment at which cargo ends.

    `compiled`: the programs that cargo makes; it names the last one in that moment. With none,
    cargo had nothing to do, and nothing was hidden behind it.
    """
    builder = DirectBuilder(
        http, cupboard=Cupboard(state / "images"), clock=SystemClock(), base_registry=registry
    )
    order = ImageOrder(project_root=root, dockerfile=Path("Dockerfile"), local_tag="bench")
    login = Login(registry=registry, username="x", password=Secret("none"))
    target = ImageRef(registry, "bench/direct", str(number))

    async def destination() -> tuple[ImageRef, Login]:
        return target, login

    ahead = builder.ahead(order, frozenset(PROGRAMS), destination, _deaf)
    async with anyio.create_task_group() as group:
        if compiled:
            group.start_soon(ahead.work)
            await _compile(ahead, root, compiled)
        began = time.perf_counter()
        for last in compiled[-1:]:
            ahead.built(root / last)
        image = _good(await builder.build(order, _deaf))
        await ahead.finish()
        _good(await builder.push(image.local_tag, target, login, _deaf))
        return time.perf_counter() - began


async def _compile(ahead: Ahead, root: Path, compiled: tuple[str, ...]) -> None:
    """All that cargo does before it names the last program."""
    for path in PROGRAMS:
        if path in compiled:
            await anyio.sleep(CRATE_SECONDS)
        if path != compiled[-1]:
            ahead.built(root / path)


def _good(found: T | Failure) -> T:
    if isinstance(found, Failure):
        raise SystemExit(f"{found.id} {found.cause}")
    return found


def _deaf(_told: Transient) -> None:
    """Nobody looks on."""


async def once(root: Path, registry: str, state: Path) -> None:
    """One build and push; prints its seconds and its peak memory in MiB."""
    async with Http(kept_connections=8) as http:
        seconds = await directly(root, registry, state, http, 0, PROGRAMS)
    # Not getrusage: what it tells of a child includes the parent that it was forked from.
    status = await anyio.Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"seconds": round(seconds, 3), "peak_mib": round(peak, 1)}))  # noqa: T201


if __name__ == "__main__":
    anyio.run(once, Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
