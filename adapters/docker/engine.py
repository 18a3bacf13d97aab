"""The Docker Engine, any vendor's: build an image, push it, and take only proof for success."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiodocker
import anyio

from deployer.adapters.context.build_context import BuildContext, PlannedContext
from deployer.adapters.docker.about import data_root, engine_info
from deployer.adapters.docker.again import Again, Before
from deployer.adapters.docker.build import Build
from deployer.adapters.docker.client import (
    CLIENT_ERRORS,
    LOCAL_NAME,
    client_failure,
    connected,
    engine_message,
    inspected,
    remove,
    retain,
    shown_endpoint,
)
from deployer.adapters.docker.loading import Loading, Workshop
from deployer.adapters.docker.messages import push_failure
from deployer.adapters.docker.push import Push
from deployer.adapters.docker.streams import Teller
from deployer.adapters.leaks import Leaks
from deployer.adapters.text import clean
from deployer.events import OutputLine, Warned
from deployer.failures import Failure, Kind
from deployer.model import Image, Login
from deployer.names import Digest, ImageId, ImageRef
from deployer.ports import Ahead, Destination, Emit, EngineInfo, Idle, ImageOrder
from deployer.states.flow import State

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the engine may be silent, in seconds."""

    ping: float = 5.0
    build: float = 900.0  # a RUN step may compile
    push: float = 60.0  # the engine tells progress and pauses each second or more often


class Docker:
    """Fits `deployer.ports.Engine`. Each call opens a connection of its own."""

    def __init__(
        self,
        *,
        context: BuildContext,
        endpoint: str | None = None,
        patience: Patience | None = None,
        leaks: Leaks | None = None,
        before: Before | None = None,
        workshop: Workshop | None = None,
    ) -> None:
        """Talk to `endpoint` (unix://…, tcp://…); None: where DOCKER_HOST or a context points.

        `leaks`: what no image may tell. `before`: what need not be done again; None: do everything.
        `workshop`: what makes layers for the engine to load; None: it builds everything itself.
        """
        self._context = context
        self._endpoint = endpoint
        self._patience = patience or Patience()
        self._leaks = leaks or Leaks()
        self._before = before
        self._workshop = workshop

    async def ping(self) -> EngineInfo | Failure:
        """Who answers at the engine's address. Its failures belong to Imaging."""

        async def ask(engine: aiodocker.Docker) -> EngineInfo:
            with anyio.fail_after(self._patience.ping):
                return engine_info(shown_endpoint(engine), await engine.version())

        return await self._operate(ask, _build_trouble)

    def ahead(
        self,
        order: ImageOrder,  # noqa: ARG002
        pending: frozenset[str],  # noqa: ARG002
        destination: Destination,  # noqa: ARG002
        emit: Emit,  # noqa: ARG002
    ) -> Ahead:
        """Nobody: the image comes when all of it is there."""
        return Idle()

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        """Build for linux/amd64. Success is the engine's own image id, found under the tag."""
        if failure := _name_failure(order.local_tag, State.IMAGING):
            return failure
        planned = await self._context.plan(order)
        if isinstance(planned, Failure):
            return planned
        for warning in planned.summary.warnings:
            emit(Warned(text=warning))
        if self._before is None:
            return await self._made(planned, order, emit)
        again = Again(self._before.images, planned, self._leaks)
        found = await self._operate(partial(again.found, tag=order.local_tag), _build_trouble)
        if not isinstance(found, Image):  # whatever is wrong, a build says it better
            return await self._made_and_known(again, order, emit)
        emit(OutputLine(source="engine", text=f"{found.image_id}: nothing changed since"))
        return await self._context.leak(planned) or found

    async def _made_and_known(self, again: Again, order: ImageOrder, emit: Emit) -> Image | Failure:
        await anyio.sleep(again.unsettled_seconds())
        image = await self._made(again.planned, order, emit)
        if isinstance(image, Image):
            await self._operate(partial(again.keep, image=image.image_id), _build_trouble)
        return image

    async def _made(
        self, planned: PlannedContext, order: ImageOrder, emit: Emit
    ) -> Image | Failure:
        loaded = await self._loaded(self._workshop, order, emit) if self._workshop else None
        return loaded or await self._built(planned, order.local_tag, emit)

    async def _loaded(
        self, workshop: Workshop, order: ImageOrder, emit: Emit
    ) -> Image | Failure | None:
        teller = Teller(emit, anyio.current_time)
        loading = Loading(workshop, order, teller, self._patience.build)
        found = await self._operate(loading.run, _build_trouble)
        if isinstance(found, Failure) and found.kind not in (Kind.ENGINE_SILENT, Kind.ENGINE_DIED):
            return None  # whatever is wrong, a build says it better
        return found

    async def _built(self, planned: PlannedContext, tag: str, emit: Emit) -> Image | Failure:
        packed = await self._context.pack(planned)
        if isinstance(packed, Failure):
            return packed
        with packed:
            teller = Teller(emit, anyio.current_time)
            build = Build(packed, tag, teller, self._patience.build, self._leaks)
            return await self._operate(build.run, build.trouble)

    async def data_root(self) -> Path | Failure | None:
        """Where it keeps images, if that is a directory of this machine."""

        async def ask(engine: aiodocker.Docker) -> Path | None:
            with anyio.fail_after(self._patience.ping):
                told = await engine.system.info()
            return await data_root(shown_endpoint(engine), told)

        return await self._operate(ask, _build_trouble)

    async def image_id(self, name: str) -> ImageId | Failure | None:
        """The id behind a local name; None when there is none. Its failures belong to Pushing."""
        if failure := _name_failure(name, State.PUSHING):
            return failure

        async def ask(engine: aiodocker.Docker) -> ImageId | None:
            found = await inspected(engine, name)
            return found.image_id if found else None

        return await self._operate(ask, _call_trouble)

    async def push(
        self, local: str, target: ImageRef, login: Login, emit: Emit
    ) -> Digest | Failure:
        """Tag `local` as `target` and push it. Success is the digest that the engine reports."""
        if failure := _name_failure(local, State.PUSHING):
            return failure
        image = await self.image_id(local) if self._before else None
        if isinstance(image, Failure):
            image = None  # a push says it better
        if self._before and image and (known := await self._before.put(image, target, login)):
            emit(OutputLine(source="engine", text=f"{known}: the registry has it"))
            return known
        push = Push(local, target, login, Teller(emit, anyio.current_time), self._patience.push)
        digest = await self._operate(push.run, push.trouble)
        if self._before and image and not isinstance(digest, Failure):
            await self._before.keep(image, target, digest)
        return digest

    async def retain(self, name: str, kept: str) -> None:
        """Give the image `name` the name `kept`, best effort, and drop the image that had it."""
        if _name_failure(name, State.PUSHING) or _name_failure(kept, State.PUSHING):
            return
        await self._operate(partial(retain, name=name, kept=kept), _call_trouble)

    async def forget(self, names: Sequence[str]) -> None:
        """Remove these names, best effort; other names of the same image stay."""
        for name in names:
            if _name_failure(name, State.PUSHING) is None:
                await self._operate(partial(remove, name=name), _call_trouble)

    async def _operate(
        self,
        work: Callable[[aiodocker.Docker], Awaitable[_T]],
        trouble: Callable[[Exception], Failure],
    ) -> _T | Failure:
        """Do `work` over a connection of its own: the one place where the client's errors end."""
        try:
            async with connected(self._endpoint) as engine:
                return await work(engine)
        except CLIENT_ERRORS as error:
            return trouble(error)


def _name_failure(name: str, phase: State) -> Failure | None:
    if LOCAL_NAME.fullmatch(name):
        return None
    return Failure(phase=phase, kind=Kind.BAD_REFERENCE, cause=clean(f"not a name: {name!r}"))


def _build_trouble(error: Exception) -> Failure:
    return client_failure(error, State.IMAGING, Kind.ENGINE_DIED)


def _call_trouble(error: Exception) -> Failure:
    if said := engine_message(error):
        return push_failure(*said, moved=False)
    return client_failure(error, State.PUSHING, Kind.PUSH_ENGINE_DIED)
