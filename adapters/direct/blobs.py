"""Small requests about blobs, and what a registry's answers to them mean."""

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from deployer.adapters.direct.repository import Repository
from deployer.adapters.http.answer import Answer
from deployer.adapters.registry.errors import registry_failure, registry_refusal
from deployer.failures import Failure, Kind
from deployer.names import InvalidNameError, parse_digest

OCTETS: Final = {"content-type": "application/octet-stream"}
_BAD_DIGEST: Final = frozenset({"DIGEST_INVALID", "SIZE_INVALID"})


@dataclass(frozen=True, slots=True)
class Sum:
    """What a blob's bytes came to, those that were skipped included."""

    digest: str
    size: int


async def has(repository: Repository, digest: str, size: int | None = None) -> bool | Failure:
    """Whether the repository has a blob, as far as it can be checked without reading it."""
    head = await repository.ask("HEAD", f"blobs/{digest}")
    if isinstance(head, Failure):
        return head
    if head.status == HTTPStatus.NOT_FOUND:
        return False
    if head.status == HTTPStatus.TEMPORARY_REDIRECT:
        # The distribution project's registry on an object store sends whoever asks for a blob there,
        # HEAD included, and has found the blob before it does: its issue 3691.
        return True
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
    location = accepted(repository, begun)
    if isinstance(location, Failure):
        return location
    answer = await repository.ask(
        "PUT", with_digest(location, digest), headers=OCTETS, content=data, repeatable=False
    )
    return answer if isinstance(answer, Failure) else stored(answer, Sum(digest, len(data)))


def accepted(repository: Repository, answer: Answer | Failure) -> str | Failure:
    """Where an upload goes on, once the registry has taken what was sent."""
    if isinstance(answer, Failure):
        return answer
    if answer.status not in (HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT):
        return refused(answer, 0)
    return repository.located(answer)


def with_digest(location: str, digest: str) -> str:
    """The URL that ends an upload."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def stored(answer: Answer, total: Sum) -> Sum | Failure:
    """The sum, once the registry says that it has stored just these bytes."""
    if answer.status != HTTPStatus.CREATED:
        return refused(answer, total.size)
    try:
        named = parse_digest(answer.headers.get("docker-content-digest", total.digest))
    except InvalidNameError as error:
        return registry_failure(Kind.DIGEST_MISMATCH, str(error), answer)
    if named == total.digest:
        return total
    cause = f"sent {total.digest}, and the registry stored {named}"
    return registry_failure(Kind.DIGEST_MISMATCH, cause, answer)


def refused(answer: Answer, sent: int) -> Failure:
    """Why a blob is not taken, of which the registry had taken `sent` bytes."""
    refusal = registry_refusal(answer)
    match answer.json():
        case {"errors": [{"code": str(code)}, *_]} if code in _BAD_DIGEST:
            return replace(refusal, kind=Kind.DIGEST_MISMATCH)
    if "no space left" in refusal.cause:
        return replace(refusal, kind=Kind.REGISTRY_DISK_FULL)
    if refusal.kind is Kind.REGISTRY_AUTH and sent:
        return replace(refusal, kind=Kind.LOGIN_EXPIRED)
    return refusal
