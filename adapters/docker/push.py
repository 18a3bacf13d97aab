"""One push from an engine to a registry."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import aiodocker
import anyio

from deployer.adapters.docker.client import client_failure, engine_message, inspected, tag
from deployer.adapters.docker.messages import push_failure
from deployer.adapters.docker.streams import PushStream, Teller
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.model import Login
from deployer.names import Digest, ImageRef
from deployer.states.flow import State


class Push:
    """Tags a local image as the target, pushes it and follows until the registry has it."""

    def __init__(
        self, local: str, target: ImageRef, login: Login, teller: Teller, idle: float
    ) -> None:
        """Push `local` as `target`; `idle` is how long the engine may be silent, in seconds."""
        self._local = local
        self._target = target
        self._login = login
        self._idle = idle
        self._stream = PushStream(teller)
        self._is_index = False

    async def run(self, engine: aiodocker.Docker) -> Digest | Failure:
        """The digest, once the engine has named it. Raises CLIENT_ERRORS."""
        found = await inspected(engine, self._local)
        if found is None:
            return _failure(Kind.IMAGE_NOT_LOCAL, f"the engine has no image {self._local}")
        self._is_index = found.is_index
        await tag(engine, self._local, self._target)
        with anyio.move_on_after(self._idle) as silence:
            async with aclosing(self._lines(engine)) as lines:
                async for line in lines:
                    silence.deadline = anyio.current_time() + self._idle
                    self._stream.take(line)
                    if self._stream.complete:
                        break
        if silence.cancelled_caught:
            return _failure(Kind.PUSH_STALLED, f"no progress for {self._idle:.0f} s")
        if self._stream.digest is None:
            return _failure(Kind.PUSH_ENGINE_DIED, "the push ended without a digest")
        return self._stream.digest

    def trouble(self, error: Exception) -> Failure:
        """What one of CLIENT_ERRORS means for this push."""
        if said := engine_message(error):
            failure = push_failure(*said, moved=self._stream.moved)
            # Fly's registry calls an index that it does not take a missing repository.
            if self._is_index and failure.kind is Kind.REPOSITORY_DENIED:
                return replace(failure, kind=Kind.INDEX_REFUSED)
            return failure
        return client_failure(error, State.PUSHING, Kind.PUSH_ENGINE_DIED)

    def _lines(self, engine: aiodocker.Docker) -> AsyncGenerator[object, None]:
        # The login goes with this request alone: nothing is written to ~/.docker.
        login = {"username": self._login.username, "password": self._login.password.reveal()}
        lines = engine.images.push(self._target.name, tag=self._target.tag, auth=login, stream=True)
        # It is a generator; leaving early must close it, or its connection stays with it.
        return cast("AsyncGenerator[object, None]", lines)


def _failure(kind: Kind, cause: str) -> Failure:
    return Failure(phase=State.PUSHING, kind=kind, cause=clean(cause))
