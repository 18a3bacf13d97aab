"""What can be made and sent of an image while cargo still runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread

from deployer.adapters.direct.base import Bases
from deployer.adapters.direct.blobs import has
from deployer.adapters.direct.blueprint import drawn, read_program
from deployer.adapters.direct.instructions import Program
from deployer.adapters.direct.layers import AT_ONCE, Layers
from deployer.adapters.direct.sender import Sender
from deployer.adapters.direct.values import Base, Member
from deployer.adapters.text import clean
from deployer.events import Transient, Warned
from deployer.failures import Failure
from deployer.ports import Emit, ImageOrder

# A cargo with nothing to do is over in 50 ms (measured): there is nothing to hide behind it.
_NOT_BEFORE: Final = 0.2  # seconds
_TARGET: Final = "target/"

# The way into the tenant's repository, with this base below the image; None: not yet, or not at all.
Opened = Callable[[Base, Emit], Awaitable[Sender | None]]


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What all drawings of one image begin with."""

    program: Program
    base: Base


class Ahead:
    """Works for one run; fits `ports.Ahead`.

    It shares nothing with the run but what the cupboard remembers: a failure here is no failure,
    because Imaging and Pushing do again, and tell, what they do not find done.
    """

    def __init__(
        self,
        order: ImageOrder,
        pending: frozenset[str],
        *,
        bases: Bases,
        layers: Layers,
        opened: Opened,
        emit: Emit,
    ) -> None:
        """`pending`: the paths that cargo will make, relative to the project."""
        self._order = order
        self._pending = pending
        self._bases = bases
        self._layers = layers
        self._opened = opened
        self._emit = emit
        self._built: set[str] = set()
        self._begun: set[tuple[Member, ...]] = set()
        self._threads = CapacityLimiter(AT_ONCE)
        self._changed = anyio.Event()
        self._started = self._finishing = False
        self._scope = anyio.CancelScope()
        self._over = anyio.Event()

    async def work(self) -> None:
        """Make and send each layer whose files are there, until `finish` or `stop`."""
        try:
            with self._scope:
                await anyio.sleep(_NOT_BEFORE)
                self._started = True
                await self._work()
        except Exception as error:  # noqa: BLE001  # a bug here is told, and costs only time
            what = clean(f"{type(error).__name__}: {error}")
            self._emit(Warned(text=f"nothing more is prepared while cargo runs: {what}"))
        finally:
            self._over.set()

    def built(self, path: Path) -> None:
        """Cargo has made `path`, or found it up to date."""
        root = self._order.project_root
        if path.is_relative_to(root):
            self._built.add(path.relative_to(root).as_posix())
            self._wake()

    async def finish(self) -> None:
        """Return when all that was begun is over: nothing is sent twice at the same time."""
        if not self._started:
            self.stop()
            return
        self._finishing = True
        self._wake()
        await self._over.wait()

    def stop(self) -> None:
        """Drop everything."""
        self._scope.cancel()

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _work(self) -> None:
        begun = await self._begin()
        sender = await self._opened(begun.base, self._tell) if begun else None
        if begun is None or sender is None:
            return
        # The first request alone: it settles how the registry wants its login.
        await has(sender.repository, begun.base.digest)
        async with anyio.create_task_group() as group:
            for blob in begun.base.layers:
                group.start_soon(sender.base_layer, blob)
            while True:
                changed = self._changed
                for members in await self._complete(begun):
                    group.start_soon(self._layer, members, sender)
                if self._finishing:
                    break
                await changed.wait()
        sender.learn()

    async def _begin(self) -> _Drawing | None:
        program = await to_thread.run_sync(read_program, self._order, limiter=self._threads)
        if isinstance(program, Failure):
            return None
        base = await self._bases.find(program.base, program.base_line, _unheard)
        return None if isinstance(base, Failure) else _Drawing(program, base)

    async def _complete(self, begun: _Drawing) -> list[tuple[Member, ...]]:
        """The layers that were not begun, and whose files are all there."""
        pending = self._pending - self._built
        made = await to_thread.run_sync(
            drawn, self._order, begun.program, begun.base, pending, limiter=self._threads
        )
        if isinstance(made, Failure):
            return []
        layers = [each for each in made[0].layers if each not in self._begun]
        ready = [each for each in layers if all(map(self._is_ready, each))]
        self._begun.update(ready)
        return ready

    def _is_ready(self, member: Member) -> bool:
        """What lies in target/ is only believed when cargo has named it."""
        return not member.source.startswith(_TARGET) or member.source in self._built

    async def _layer(self, members: tuple[Member, ...], sender: Sender) -> None:
        root = self._order.project_root
        await self._layers.settle(root, members)
        layer = await self._layers.one(root, members, self._threads)
        if not isinstance(layer, Failure):
            await sender.layer(layer)

    def _tell(self, told: Transient) -> None:
        """Nobody waits for this before Pushing does."""
        if self._finishing:
            self._emit(told)


def _unheard(_told: Transient) -> None:
    """Imaging says it again."""
