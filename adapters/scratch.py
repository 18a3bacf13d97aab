"""Temporary files without a name: nothing is left of them, however their process ends."""

import os
import tempfile
from pathlib import Path
from typing import IO, Final

_SAID: Final = ("TMPDIR", "TEMP", "TMP")
_USUAL: Final = ("/tmp", "/var/tmp")  # noqa: S108


def scratch_file() -> IO[bytes]:
    """An empty file, below the first of `TMPDIR`, `TEMP`, `TMP` that is a folder, or `/tmp`.

    Raises OSError.
    """
    said = (os.environ[name] for name in _SAID if os.environ.get(name))
    folders = [folder for folder in (*said, *_USUAL) if Path(folder).is_dir()]
    # Not tempfile's own choice of a folder: it tries each one by writing four bytes to a file with
    # a name, which stays when the process is killed there or the removal fails (seen: EIO).
    return tempfile.TemporaryFile(dir=folders[0] if folders else ".")
