"""How runs are written down: our frozen values as JSON, and back."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def encode(value: object) -> str:
    """`value` as JSON. Secrets have no encoding: meeting one raises TypeError."""
    return msgspec.json.encode(value, enc_hook=_encoded).decode()


def decode(text: str, kind: type[T]) -> T:
    """The value back; msgspec.ValidationError if the text is not one."""
    return msgspec.json.decode(text, type=kind, dec_hook=_decoded, strict=True)


def plain(value: object) -> Any:
    """`value` as dicts, lists and scalars."""
    return msgspec.to_builtins(value, enc_hook=_encoded)


def _encoded(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not stored")


def _decoded(kind: type, value: object) -> object:
    if issubclass(kind, Path):
        return Path(str(value))
    raise TypeError(f"{kind.__name__} is not stored")
