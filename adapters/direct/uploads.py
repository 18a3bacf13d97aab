"""One blob into a repository: the upload protocol of the distribution specification."""

import re
from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from http import HTTPStatus
from typing import Final, Protocol

from deployer.adapters.direct.blobs import (
    OCTETS,
    Sum,
    accepted,
    has,
    refused,
    stored,
    with_digest,
)
from deployer.adapters.direct.repository import Repository
from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.registry.errors import registry_refusal, registry_trouble
from deployer.failures import Failure, Kind

_RESUMES_MAX: Final = 5  # without a byte more, one ends it
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)")
# What a registry says that takes no body of unknown length.
_NO_CHUNKS: Final = frozenset(
    {
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
# What says that an upload cannot go on. The distribution project's registry forgets each whose body
# broke off: it compares what it has with the offset that it signed into the location, and answers 404
# (2.7.1 to 2.8.3, measured) or 416 (its sources since).
_LOST: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_GONE: Final = frozenset({Kind.REGISTRY_UNAVAILABLE, Kind.REGISTRY_UNREACHABLE})


class Sending(Protocol):
    """The bytes of one attempt, and what they came to."""

    def pieces(self) -> AsyncIterable[bytes]:
        """The bytes, once."""

    def finished(self) -> Sum | Failure:
        """Their digest and number, once they have all been taken; or why they are wrong."""


# The same bytes again at each call, without the first so many.
Source = Callable[[int], AbstractAsyncContextManager[Sending]]


async def uploaded(repository: Repository, source: Source) -> Sum | Failure:
    """Send a blob; after a cut go on where the registry stands, or once from the beginning."""
    begun = await repository.ask("POST", "blobs/uploads/", content=b"")
    location = accepted(repository, begun)
    if isinstance(location, Failure):
        return location
    upload = _Upload(repository, source, location)
    found = await upload.streamed()
    if found is None:
        return await upload.monolithic()
    return found


class _Upload:
    """One upload session of a registry."""

    def __init__(self, repository: Repository, source: Source, location: str) -> None:
        self._repository = repository
        self._source = source
        self._location = location
        self._offset = 0  # bytes that the registry has
        self._resumes = 0
        self._begun_again = False
        self._renewed = False

    async def streamed(self) -> Sum | Failure | None:
        """Send it as one body of unknown length; None where the registry takes none."""
        while True:
            used = self._repository.authorization
            answer, total = await self._attempt()
            if isinstance(answer, Answer) and total is not None:
                return await self._closed(answer, total)
            if isinstance(answer, Answer) and answer.status in _NO_CHUNKS and not self._offset:
                return None
            failure = await self._prepared_to_go_on(answer, used)
            if failure is not None:
                return failure

    async def _attempt(self) -> tuple[Answer | Trouble, Sum | Failure | None]:
        """Send what the registry lacks; the sum only where it took all."""
        async with self._source(self._offset) as sending:
            answer = await self._repository.send("PATCH", self._location, sending.pieces(), OCTETS)
            took = isinstance(answer, Answer) and answer.is_success
            return answer, sending.finished() if took else None

    async def _prepared_to_go_on(
        self, answer: Answer | Trouble, used: str | None
    ) -> Failure | None:
        """None: another attempt makes sense."""
        if isinstance(answer, Answer):
            if answer.status != HTTPStatus.UNAUTHORIZED or self._renewed:
                return refused(answer, self._offset)
            self._renewed = True
            return await self._repository.renew(answer, used) or await self._find_offset()
        before = self._offset
        failure = await self._find_offset()
        if failure and failure.http_status in _LOST and not self._begun_again:
            return await self._begin_again()
        if failure is not None:
            # A registry that is gone says less than the connection that broke.
            return _cut(answer) if failure.kind in _GONE else failure
        self._resumes += 1
        stuck = self._offset <= before or self._resumes > _RESUMES_MAX
        return _cut(answer) if stuck else None

    async def _begin_again(self) -> Failure | None:
        self._begun_again = True
        begun = await self._repository.ask("POST", "blobs/uploads/", content=b"")
        location = accepted(self._repository, begun)
        if isinstance(location, Failure):
            return location
        self._location, self._offset = location, 0
        return None

    async def monolithic(self) -> Sum | Failure:
        """Send it as one body of known length: made twice, once to be measured."""
        total = await self._measured()
        if isinstance(total, Failure):
            return total
        begun = await self._repository.ask("POST", "blobs/uploads/", content=b"")
        location = accepted(self._repository, begun)
        if isinstance(location, Failure):
            return location
        async with self._source(0) as sending:
            answer = await self._repository.send(
                "PUT",
                with_digest(location, total.digest),
                sending.pieces(),
                {**OCTETS, "content-length": str(total.size)},
            )
        return stored(answer, total) if isinstance(answer, Answer) else _cut(answer)

    async def _measured(self) -> Sum | Failure:
        async with self._source(0) as sending:
            async for _ in sending.pieces():
                pass
            return sending.finished()

    async def _closed(self, answer: Answer, total: Sum | Failure) -> Sum | Failure:
        if isinstance(total, Failure):
            return total
        location = accepted(self._repository, answer)
        if isinstance(location, Failure):
            return location
        url = with_digest(location, total.digest)
        put = await self._repository.ask("PUT", url, content=b"", repeatable=False)
        if isinstance(put, Answer):
            return stored(put, total)
        # The answer was lost, not necessarily the work.
        return total if await has(self._repository, total.digest, total.size) is True else put

    async def _find_offset(self) -> Failure | None:
        """Ask how much of the upload the registry has."""
        answer = await self._repository.ask("GET", self._location)
        if isinstance(answer, Failure):
            return answer
        found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
        if answer.status != HTTPStatus.NO_CONTENT or found is None:
            return registry_refusal(answer)
        location = self._repository.located(answer)
        if isinstance(location, Failure):
            return location
        # "0-0" means nothing, and one byte as well; sending a first byte twice would be noticed.
        self._offset = int(found[1]) + 1 if int(found[1]) else 0
        self._location = location
        return None


def _cut(answer: Answer | Trouble) -> Failure:
    if isinstance(answer, Answer):
        return registry_refusal(answer)
    kinds = {Fault.CUT: Kind.PUSH_CUT, Fault.SLOW: Kind.PUSH_STALLED}
    failure = registry_trouble(answer)
    return replace(failure, kind=kinds.get(answer.fault, failure.kind))
