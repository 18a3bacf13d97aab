"""What was found out before: small files below the state directory, each of which may be lost."""

import math
import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

_KEPT_MAX: Final = 500  # of one kind; the ones that were not used for the longest time go
_PART: Final = ".part"
_PART_SECONDS: Final = 60.0  # whoever is still writing needs milliseconds
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Facts:
    """One file a fact. Blocks, briefly; whatever cannot be read is not known."""

    def __init__(self, folder: Path) -> None:
        """Keep everything below `folder`, which need not exist yet."""
        self._folder = folder

    def _path(self, kind: str, name: str) -> Path:
        safe = name if _PLAIN.fullmatch(name) else sha256(name.encode()).hexdigest()
        return self._folder / kind / f"{safe}.json"

    def _get(self, kind: str, name: str, shape: type[T]) -> T | None:
        path = self._path(kind, name)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=shape)
            os.utime(path)
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        return found

    def _put(self, kind: str, name: str, value: object) -> None:
        try:
            # A deploy makes the state directory; a mere look before the first one leaves nothing.
            if self._folder.parent.is_dir():
                self._write(self._path(kind, name), msgspec.json.encode(value))
        except OSError:
            return  # it is found out again

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=_PART, delete=False) as file:
            file.write(data)
            now = os.fstat(file.fileno()).st_mtime
        Path(file.name).replace(path)
        _tidy(path.parent, now)


def _tidy(folder: Path, now: float) -> None:
    """Remove what killed writers have left in `folder`, and of too many facts the least used."""
    files = list(folder.iterdir())
    stale = [
        path for path in files if path.suffix == _PART and _changed(path) < now - _PART_SECONDS
    ]
    if len(files) > _KEPT_MAX:
        stale += sorted(files, key=_changed)[: len(files) - _KEPT_MAX // 2]
    for path in stale:
        path.unlink(missing_ok=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf  # another writer has just given it its name
