"""Layers known by their digests: read from their files only where those changed."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import CapacityLimiter, from_thread, to_thread

from deployer.adapters.context.plan import context_failure, read_failure
from deployer.adapters.context.project_tree import Node
from deployer.adapters.context.tar import ChangedError, UnreadableError
from deployer.adapters.direct.cupboard import Cupboard, KnownLayer
from deployer.adapters.direct.fingerprint import fingerprint
from deployer.adapters.direct.layer_tar import hashed, tar_size
from deployer.adapters.direct.values import Layer, Member
from deployer.adapters.leaks import Leaks
from deployer.adapters.stamp import is_settled, unsettled_seconds
from deployer.adapters.threads import in_thread
from deployer.failures import Failure, Kind
from deployer.ports import Clock

AT_ONCE: Final = 2  # layers that are hashed: more would wait for the disk


class Layers:
    """Reads layers, remembers them, and looks for what no image may hold."""

    def __init__(self, cupboard: Cupboard, clock: Clock, leaks: Leaks) -> None:
        """Remember in `cupboard`; refuse what holds one of `leaks`."""
        self._cupboard = cupboard
        self._clock = clock
        self._leaks = leaks
        self._busy: dict[tuple[Path, tuple[Member, ...]], anyio.Event] = {}

    async def all(
        self, root: Path, layers: Sequence[tuple[Member, ...]]
    ) -> tuple[Layer, ...] | Failure:
        """The layers with these members, in their order; the first failure where there is one."""
        limiter = CapacityLimiter(AT_ONCE)
        found: dict[int, Layer | Failure] = {}

        async def one(place: int, members: tuple[Member, ...]) -> None:
            found[place] = await self.one(root, members, limiter)

        async with anyio.create_task_group() as group:
            for place, members in enumerate(layers):
                group.start_soon(one, place, members)
        results = [found[place] for place in range(len(layers))]
        failure = next((each for each in results if isinstance(each, Failure)), None)
        return failure or tuple(each for each in results if isinstance(each, Layer))

    async def one(
        self, root: Path, members: tuple[Member, ...], limiter: CapacityLimiter
    ) -> Layer | Failure:
        """The layer with these members; who asks for one that is being read waits for it."""
        while (busy := self._busy.get((root, members))) is not None:
            await busy.wait()
        self._busy[root, members] = over = anyio.Event()
        try:
            return await to_thread.run_sync(self._layer, root, members, limiter=limiter)
        finally:
            del self._busy[root, members]
            over.set()

    async def settle(self, root: Path, members: tuple[Member, ...]) -> None:
        """Wait until what is read of these files may be remembered: a tick after their last change."""
        with suppress(OSError):  # the one that reads tells it
            _, newest = await in_thread(partial(fingerprint, root, members))
            await self._clock.sleep(unsettled_seconds(newest, self._clock.wall()))

    def _layer(self, root: Path, members: tuple[Member, ...]) -> Layer | Failure:
        """A layer with its digest, which is read from the files only where they changed."""
        try:
            mark, newest = fingerprint(root, members)
            settled = is_settled(newest, self._clock.wall())
            known = self._cupboard.layer(mark) if settled else None
            leak = self._leak(root, members)
            if leak is not None:
                return leak
            diff_id = known.diff_id if known else hashed(root, members, from_thread.check_cancelled)
        except ChangedError as error:
            return context_failure(Kind.CONTEXT_CHANGED, f"{error} changed while it was read")
        except UnreadableError as error:
            return read_failure(error.error)
        except OSError as error:
            return read_failure(error)
        if settled and known is None:
            self._cupboard.keep_layer(mark, KnownLayer(diff_id=diff_id))
        trusted = mark if settled and self._cupboard.trusts_fingerprints else ""
        return Layer(members=members, diff_id=diff_id, size=tar_size(members), mark=trusted)

    def _leak(self, root: Path, members: tuple[Member, ...]) -> Failure | None:
        """The failure of the first file that holds a secret; also of a layer that is known.

        A password may be known today that was not before.
        """
        for member in members:
            from_thread.check_cancelled()
            if member.node is Node.FILE and self._leaks.in_file(root / member.source):
                cause = f"{member.source} holds a password that this deploy knows"
                return context_failure(Kind.SECRET_IN_IMAGE, cause)
        return None
