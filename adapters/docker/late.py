"""The engine, whose client is imported when there is work for it: while cargo still runs."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from deployer.adapters.docker.about import data_root, engine_info, told
from deployer.adapters.docker.knock import knock
from deployer.failures import Failure
from deployer.model import Image, Login
from deployer.names import Digest, ImageId, ImageRef
from deployer.ports import Ahead, Destination, Emit, Engine, EngineInfo, Idle, ImageOrder


class LateEngine:
    """Fits `deployer.ports.Engine`; a deploy that needs no engine imports nothing of one."""

    def __init__(self, endpoint: str | None, load: Callable[[], Engine]) -> None:
        """Ask at `endpoint` who is there; `load` imports the client and gives the engine itself."""
        self._endpoint = endpoint
        self._load = load
        self._loaded: Engine | None = None

    async def ping(self) -> EngineInfo | Failure:
        """Who answers at the engine's address."""
        socket = await knock(self._endpoint)
        if isinstance(socket, Failure):
            return socket
        version = await told(socket, "version") if socket else None
        with suppress(KeyError, TypeError, AttributeError):
            if version is not None:
                return engine_info(f"unix://{socket}", version)
        return await (await self._engine()).ping()

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        """As the engine itself."""
        return await (await self._engine()).build(order, emit)

    async def data_root(self) -> Path | Failure | None:
        """As the engine itself."""
        socket = await knock(self._endpoint)
        if isinstance(socket, Failure):
            return socket
        info = await told(socket, "info") if socket else None
        if info is not None:
            return await data_root(f"unix://{socket}", info)
        return await (await self._engine()).data_root()

    def ahead(
        self,
        order: ImageOrder,  # noqa: ARG002
        pending: frozenset[str],  # noqa: ARG002
        destination: Destination,  # noqa: ARG002
        emit: Emit,  # noqa: ARG002
    ) -> Ahead:
        """Who imports the client while cargo runs."""
        return _Importing(self._engine)

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


class _Importing(Idle):
    """Imports the client while cargo runs."""

    def __init__(self, load: Callable[[], Awaitable[Engine]]) -> None:
        self._load = load

    async def work(self) -> None:
        """It cannot be stopped half-way, and need not be: it takes 0.2 s."""
        with suppress(Exception):  # whoever needs it tells
            await self._load()
