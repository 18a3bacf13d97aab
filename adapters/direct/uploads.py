"""One blob into a repository: the upload protocol of the distribution specification."""

import re
from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, Protocol

from deployer.adapters.direct.repository import Repository
from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.registry.errors import registry_failure, registry_refusal, registry_trouble
from deployer.failures import Failure, Kind
from deployer.model import InvalidNameError, parse_digest

_RESUMES_MAX: Final = 5  # without a byte more, one ends it
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS: Final = {"content-type": "application/octet-stream"}
# What a registry says that takes no body of unknown length.
_NO_CHUNKS: Final = frozenset(
    {
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
_GONE: Final = frozenset({Kind.REGISTRY_UNAVAILABLE, Kind.REGISTRY_UNREACHABLE})
_BAD_DIGEST: Final = frozenset({"DIGEST_INVALID", "SIZE_INVALID"})


class Sending(Protocol):
    """The bytes of one attempt, and what they came to."""

    def pieces(self) -> AsyncIterable[bytes]:
        """The bytes, once."""

    def finished(self) -> "Sum | Failure":
        """Their digest and number, once they have all been taken; or why they are wrong."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What a blob's bytes came to, those that were skipped included."""

    digest: str
    size: int


# The same bytes again at each call, without the first so many.
Source = Callable[[int], AbstractAsyncContextManager[Sending]]


async def has(repository: Repository, digest: str, size: int | None = None) -> bool | Failure:
    """Whether the repository has a blob, as far as it can be checked without reading it."""
    head = await repository.ask("HEAD", f"blobs/{digest}")
    if isinstance(head, Failure):
        return head
    if head.status == HTTPStatus.NOT_FOUND:
        return False
    if head.status != HTTPStatus.OK:
        return registry_refusal(head)
    named = head.headers.get("docker-content-digest", digest)
    length = head.headers.get("content-length", "")
    return named == digest and (size is None or not length.isdigit() or int(length) == size)


async def mounted(repository: Repository, digest: str, from_repository: str) -> bool | Failure:
    """Let the registry take a blob over from another repository of its own, if it will."""
    answer = await repository.ask(
        "POST", f"blobs/uploads/?mount={digest}&from={from_repository}", content=b""
    )
    if isinstance(answer, Failure):
        return answer
    if answer.status == HTTPStatus.ACCEPTED:  # it opened an upload instead
        await _abandon(repository, answer)
    return answer.status == HTTPStatus.CREATED


async def _abandon(repository: Repository, answer: Answer) -> None:
    location = repository.located(answer)
    if isinstance(location, str):
        await repository.ask("DELETE", location)


async def uploaded(repository: Repository, source: Source) -> Sum | Failure:
    """Send a blob; a cut connection goes on where the registry stands."""
    begun = await repository.ask("POST", "blobs/uploads/", content=b"")
    location = _accepted(repository, begun)
    if isinstance(location, Failure):
        return location
    upload = _Upload(repository, source, location)
    found = await upload.streamed()
    if found is None:
        return await upload.monolithic()
    return found


async def put(repository: Repository, data: bytes, digest: str) -> Sum | Failure:
    """Send a small blob; where no answer comes, look, and send it once more."""
    sent = await _put_once(repository, data, digest)
    if isinstance(sent, Failure) and sent.http_status is None:
        there = await has(repository, digest, len(data))
        return (
            Sum(digest, len(data)) if there is True else await _put_once(repository, data, digest)
        )
    return sent


async def _put_once(repository: Repository, data: bytes, digest: str) -> Sum | Failure:
    begun = await repository.ask("POST", "blobs/uploads/", content=b"")
    location = _accepted(repository, begun)
    if isinstance(location, Failure):
        return location
    answer = await repository.ask(
        "PUT", _with_digest(location, digest), headers=_OCTETS, content=data, repeatable=False
    )
    return answer if isinstance(answer, Failure) else _stored(answer, Sum(digest, len(data)))


class _Upload:
    """One upload session of a registry."""

    def __init__(self, repository: Repository, source: Source, location: str) -> None:
        self._repository = repository
        self._source = source
        self._location = location
        self._offset = 0  # bytes that the registry has
        self._resumes = 0
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
            answer = await self._repository.send("PATCH", self._location, sending.pieces(), _OCTETS)
            took = isinstance(answer, Answer) and answer.is_success
            return answer, sending.finished() if took else None

    async def _prepared_to_go_on(
        self, answer: Answer | Trouble, used: str | None
    ) -> Failure | None:
        """None: another attempt makes sense."""
        if isinstance(answer, Answer):
            if answer.status != HTTPStatus.UNAUTHORIZED or self._renewed:
                return _refused(answer, self._offset)
            self._renewed = True
            return await self._repository.renew(answer, used) or await self._find_offset()
        before = self._offset
        failure = await self._find_offset()
        if failure is not None:
            # A registry that is gone says less than the connection that broke.
            return _cut(answer) if failure.kind in _GONE else failure
        self._resumes += 1
        stuck = self._offset <= before or self._resumes > _RESUMES_MAX
        return _cut(answer) if stuck else None

    async def monolithic(self) -> Sum | Failure:
        """Send it as one body of known length: made twice, once to be measured."""
        total = await self._measured()
        if isinstance(total, Failure):
            return total
        begun = await self._repository.ask("POST", "blobs/uploads/", content=b"")
        location = _accepted(self._repository, begun)
        if isinstance(location, Failure):
            return location
        async with self._source(0) as sending:
            answer = await self._repository.send(
                "PUT",
                _with_digest(location, total.digest),
                sending.pieces(),
                {**_OCTETS, "content-length": str(total.size)},
            )
        return _stored(answer, total) if isinstance(answer, Answer) else _cut(answer)

    async def _measured(self) -> Sum | Failure:
        async with self._source(0) as sending:
            async for _ in sending.pieces():
                pass
            return sending.finished()

    async def _closed(self, answer: Answer, total: Sum | Failure) -> Sum | Failure:
        if isinstance(total, Failure):
            return total
        location = _accepted(self._repository, answer)
        if isinstance(location, Failure):
            return location
        url = _with_digest(location, total.digest)
        put = await self._repository.ask("PUT", url, content=b"", repeatable=False)
        if isinstance(put, Answer):
            return _stored(put, total)
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


def _accepted(repository: Repository, answer: Answer | Failure) -> str | Failure:
    if isinstance(answer, Failure):
        return answer
    if answer.status not in (HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT):
        return _refused(answer, 0)
    return repository.located(answer)


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _stored(answer: Answer, total: Sum) -> Sum | Failure:
    """The sum, once the registry says that it has stored just these bytes."""
    if answer.status != HTTPStatus.CREATED:
        return _refused(answer, total.size)
    try:
        named = parse_digest(answer.headers.get("docker-content-digest", total.digest))
    except InvalidNameError as error:
        return registry_failure(Kind.DIGEST_MISMATCH, str(error), answer)
    if named == total.digest:
        return total
    cause = f"sent {total.digest}, and the registry stored {named}"
    return registry_failure(Kind.DIGEST_MISMATCH, cause, answer)


def _refused(answer: Answer, sent: int) -> Failure:
    refusal = registry_refusal(answer)
    match answer.json():
        case {"errors": [{"code": str(code)}, *_]} if code in _BAD_DIGEST:
            return replace(refusal, kind=Kind.DIGEST_MISMATCH)
    if "no space left" in refusal.cause:
        return replace(refusal, kind=Kind.REGISTRY_DISK_FULL)
    if refusal.kind is Kind.REGISTRY_AUTH and sent:
        return replace(refusal, kind=Kind.LOGIN_EXPIRED)
    return refusal


def _cut(answer: Answer | Trouble) -> Failure:
    if isinstance(answer, Answer):
        return registry_refusal(answer)
    kinds = {Fault.CUT: Kind.PUSH_CUT, Fault.SLOW: Kind.PUSH_STALLED}
    failure = registry_trouble(answer)
    return replace(failure, kind=kinds.get(answer.fault, failure.kind))
