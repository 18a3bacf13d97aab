"""Notes when a tool's requests begin and end: on PYTHONPATH, it runs before the tool does."""

import atexit
import importlib.util
import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_NOTED: list[str] = []


class _Finder:
    """Waits for httpx, and wraps what sends its requests."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """The spec of httpx with a loader that wraps; None for all else."""
        if name != "httpx":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None  # noqa: S101
        assert spec.loader is not None  # noqa: S101
        load = spec.loader.exec_module

        def loaded(module: ModuleType) -> None:
            load(module)
            _wrap(module.AsyncClient)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def _wrap(client: Any) -> None:
    send = client.send

    async def timed(*words: Any, **options: Any) -> Any:
        began = time.time()  # noqa: TID251  # compared with other processes' times
        try:
            return await send(*words, **options)
        finally:
            _NOTED.append(f"http {began} {time.time()}\n")  # noqa: TID251

    client.send = timed


def _write(path: Path) -> None:
    if _NOTED:
        with path.open("a") as file:
            file.writelines(_NOTED)


if "DEPLOYER_BENCH_TIMES" in os.environ:
    sys.meta_path.insert(0, _Finder())
    atexit.register(_write, Path(os.environ["DEPLOYER_BENCH_TIMES"]))
