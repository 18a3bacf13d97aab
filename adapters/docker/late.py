"""The engine, whose client is imported when somebody answers, or when there is work for it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from deployer.adapters.docker.knock import knock
from deployer.failures import Failure
from deployer.model import Image, Login
from deployer.names import Digest, ImageId, ImageRef
from deployer.ports import Emit, Engine, EngineInfo, ImageOrder


class LateEngine:
    """Fits `deployer.ports.Engine`; a deploy that needs no engine imports nothing of one."""

    def __init__(self, endpoint: str | None, load: Callable[[], Engine]) -> None:
        """Knock at `endpoint` first; `load` imports the client and gives the engine itself."""
        self._endpoint = endpoint
        self._load = load
        self._loaded: Engine | None = None

    async def ping(self) -> EngineInfo | Failure:
        """Who answers at the engine's address."""
        return await knock(self._endpoint) or await (await self._engine()).ping()

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        """As the engine itself."""
        return await (await self._engine()).build(order, emit)

    async def data_root(self) -> Path | Failure | None:
        """As the engine itself."""
        return await knock(self._endpoint) or await (await self._engine()).data_root()

    async def image_id(self, name: str) -> ImageId | Failure | None:
        """As the engine itself."""
        return await (await self._engine()).image_id(name)

    async def push(
        self, local: str, target: ImageRef, login: Login, emit: Emit
    ) -> Digest | Failure:
        """As the engine itself."""
        return await (await self._engine()).push(local, target, login, emit)

    async def retain(self, name: str, kept: str) -> None:
        """As the engine itself."""
        await (await self._engine()).retain(name, kept)

    async def forget(self, names: Sequence[str]) -> None:
        """As the engine itself."""
        await (await self._engine()).forget(names)

    async def _engine(self) -> Engine:
        if self._loaded is None:
            # Beside a thread that imports, the loop still hears signals.
            self._loaded = await to_thread.run_sync(self._load, limiter=CapacityLimiter(1))
        return self._loaded
