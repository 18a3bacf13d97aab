"""What was found out before: small files below the state directory, each of which may be lost."""

import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

_KEPT_MAX: Final = 500  # of one kind; the ones that were not used for the longest time go
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
            self._write(self._path(kind, name), msgspec.json.encode(value))
            self._tidy(kind)
        except OSError:
            return  # it is found out again

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(data)
        Path(file.name).replace(path)

    def _tidy(self, kind: str) -> None:
        files = list((self._folder / kind).iterdir())
        if len(files) > _KEPT_MAX:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: len(files) - _KEPT_MAX // 2]:
                path.unlink(missing_ok=True)
