"""The database that sqlx compiles against: does anything listen there? No login is tried."""

import os
from typing import Final
from urllib.parse import urlsplit

import anyio

from deployer.adapters.text import clean
from deployer.model import Secret

CONNECT_SECONDS: Final = 1.5  # the preflight waits for it
PORT: Final = 5432


class DatabaseHost:
    """Fits `deployer.ports.Database`."""

    def __init__(self, url: Secret | None) -> None:
        """Look at the host of `url`; None: at nothing."""
        self._url = url

    async def look(self) -> str | None:
        """Why it cannot be reached; None when it can, or none is named."""
        place = _place(self._url.reveal()) if self._url else None
        if place is None:
            return None
        host, port = place
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                stream = await anyio.connect_tcp(host, port)
        except TimeoutError:
            return clean(f"{host}:{port} does not answer")
        except OSError as error:
            reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
            why = os.strerror(reason.errno) if reason.errno else "no connection"
            return clean(f"{host}:{port}: {why}")
        await stream.aclose()
        return None


def _place(url: str) -> tuple[str, int] | None:
    """Host and port of a URL; None for a file's or a socket's."""
    try:
        parts = urlsplit(url)
        return (parts.hostname, parts.port or PORT) if parts.hostname else None
    except ValueError:
        return None
