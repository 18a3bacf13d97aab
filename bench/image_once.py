"""One image by the direct builder; as a program, also how much memory that takes."""

import json
import sys
import time
from pathlib import Path

import anyio

from deployer.adapters.clock import SystemClock
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.http.client import Http
from deployer.failures import Failure
from deployer.model import Login, Secret
from deployer.names import ImageRef
from deployer.ports import ImageOrder


async def directly(root: Path, registry: str, state: Path, http: Http, number: int) -> float:
    """Build and push once; the seconds that it took."""
    builder = DirectBuilder(
        http, cupboard=Cupboard(state / "images"), clock=SystemClock(), base_registry=registry
    )
    order = ImageOrder(project_root=root, dockerfile=Path("Dockerfile"), local_tag="bench")
    login = Login(registry=registry, username="x", password=Secret("none"))
    began = time.perf_counter()
    image = await builder.build(order, lambda _: None)
    if isinstance(image, Failure):
        raise SystemExit(f"{image.id} {image.cause}")
    target = ImageRef(registry, "bench/direct", str(number))
    pushed = await builder.push("bench", target, login, lambda _: None)
    if isinstance(pushed, Failure):
        raise SystemExit(f"{pushed.id} {pushed.cause}")
    return time.perf_counter() - began


async def once(root: Path, registry: str, state: Path) -> None:
    """One build and push; prints its seconds and its peak memory in MiB."""
    async with Http(kept_connections=8) as http:
        seconds = await directly(root, registry, state, http, 0)
    # Not getrusage: what it tells of a child includes the parent that it was forked from.
    status = await anyio.Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"seconds": round(seconds, 3), "peak_mib": round(peak, 1)}))  # noqa: T201


if __name__ == "__main__":
    anyio.run(once, Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
