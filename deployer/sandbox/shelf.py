"""The registry seen from inside, without the gate: which images there are."""

import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
import anyio
from yarl import URL

_SECONDS: Final = 10.0
_CREATED: Final = 201
_MANIFESTS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "oci.image.index.v1",
    )
)


class ShelfError(Exception):
    """The registry does not have, or take, what it should; the message is one line."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The registry at `address` (`host:port`)."""

    address: str
    session: aiohttp.ClientSession

    async def digest(self, repository: str, reference: str) -> str | None:
        """The manifest's digest; None when the registry has none."""
        url = f"http://{self.address}/v2/{repository}/manifests/{reference}"
        try:
            with anyio.fail_after(_SECONDS):
                async with self.session.head(url, headers={"Accept": _MANIFESTS}) as answer:
                    return answer.headers.get("Docker-Content-Digest") if answer.ok else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def blob(self, repository: str, path: str, digest: str) -> bytes:
        """A manifest or blob, checked against its digest. Raises ShelfError."""
        url = f"http://{self.address}/v2/{repository}/{path}"
        try:
            async with self.session.get(url, headers={"Accept": _MANIFESTS}) as answer:
                data = await answer.read()
        except aiohttp.ClientError as error:
            raise ShelfError(f"the registry does not answer: {error}") from error
        if not answer.ok or f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise ShelfError(f"the registry does not have {digest}")
        return data

    @asynccontextmanager
    async def stream(self, repository: str, digest: str) -> AsyncIterator[aiohttp.StreamReader]:
        """A blob as it comes; the caller checks it. Raises ShelfError."""
        url = f"http://{self.address}/v2/{repository}/blobs/{digest}"
        try:
            async with self.session.get(url) as answer:
                if not answer.ok:
                    raise ShelfError(f"the registry does not have {digest}")
                yield answer.content
        except aiohttp.ClientError as error:
            raise ShelfError(f"the registry does not answer: {error}") from error

    async def keep(self, repository: str, data: bytes) -> str:
        """Upload a blob; return its digest. Raises ShelfError."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        begin = f"http://{self.address}/v2/{repository}/blobs/uploads/"
        try:
            async with self.session.post(begin) as answer:
                place = URL(begin).join(URL(answer.headers.get("Location", ""), encoded=True))
            # aiohttp warns of large bytes: they would be written at once.
            url, body = place.update_query(digest=digest), io.BytesIO(data)
            async with self.session.put(url, data=body) as answer:
                if answer.status == _CREATED:
                    return digest
        except aiohttp.ClientError as error:
            raise ShelfError(f"the registry does not answer: {error}") from error
        raise ShelfError(f"the registry does not take a blob: {answer.status}")

    async def name(self, repository: str, tag: str, kind: str, manifest: bytes) -> None:
        """Put a manifest of the media type `kind` under `tag`. Raises ShelfError."""
        url = f"http://{self.address}/v2/{repository}/manifests/{tag}"
        try:
            async with self.session.put(
                url, data=manifest, headers={"Content-Type": kind}
            ) as answer:
                if answer.status == _CREATED:
                    return
        except aiohttp.ClientError as error:
            raise ShelfError(f"the registry does not answer: {error}") from error
        raise ShelfError(f"the registry does not take the manifest: {answer.status}")
