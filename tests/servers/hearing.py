"""A door before an engine's socket that tells when a certain word has passed it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from tests.servers.relay import relaying


@dataclass
class Ear:
    """Waits for one word after another, in either direction."""

    endpoint: str = ""
    word: bytes = b""
    heard: anyio.Event = field(default_factory=anyio.Event)

    def listen(self, word: bytes) -> anyio.Event:
        """Set from the next time that it passes."""
        self.word, self.heard = word, anyio.Event()
        return self.heard

    def hear(self, chunk: bytes, _is_answer: bool) -> bool:
        """Never the last one."""
        if self.word and self.word in chunk:
            self.heard.set()
        return False


@asynccontextmanager
async def hearing(endpoint: str, at: Path) -> AsyncIterator[Ear]:
    """An ear at the door `at`, until the block ends."""
    ear = Ear()
    async with relaying(endpoint, at, ear.hear) as ear.endpoint:
        yield ear
