"""A door before an engine's socket that cuts a conversation when it has heard a certain word."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.servers.relay import relaying


def cutting(endpoint: str, at: Path, word: bytes) -> AbstractAsyncContextManager[str]:
    """The endpoint of the door; the engine's answer that holds `word` is its last."""
    return relaying(endpoint, at, lambda chunk, is_answer: is_answer and word in chunk)
