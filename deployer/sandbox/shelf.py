"""The registry seen from inside, without the gate: which images there are."""

from dataclasses import dataclass
from typing import Final

import aiohttp
import anyio

_SECONDS: Final = 10.0
_MANIFESTS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "docker.distribution.manifest.v2",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "oci.image.index.v1",
    )
)


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
