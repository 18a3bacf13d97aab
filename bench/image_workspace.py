"""A project of realistic sizes: real machine code as binaries, a web dist, many small files."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_000_000
_ELF: Final = b"\x7fELF"
_MATERIAL: Final = ("/usr/lib", "/usr/bin")  # what any machine that runs this has
_FILES_MIN: Final = 4096

DOCKERFILE: Final = """\
FROM debian:bookworm-slim
WORKDIR /app
COPY target/release/main /app/bin/
COPY target/release/one /app/bin/mcp/
COPY target/release/two /app/bin/mcp/
COPY target/release/three /app/bin/mcp/
COPY core/web/dist/ /app/web/
COPY services/ /app/services/
ENV PORT=8080
EXPOSE 8080
CMD ["/app/bin/main"]
"""
IGNORE: Final = """\
*
!target/release/main
!target/release/one
!target/release/two
!target/release/three
!core/web/dist
!services
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the project is."""

    main: int = 70  # MB
    other: int = 25  # MB, each of three
    web_files: int = 300
    services: int = 200

    @property
    def binaries(self) -> dict[str, int]:
        """Names and sizes in MB."""
        return {"main": self.main, "one": self.other, "two": self.other, "three": self.other}


def write_project(root: Path, sizes: Sizes) -> None:
    """Leave the project in `root`."""
    code = _machine_code()
    release = root / "target/release"
    release.mkdir(parents=True)
    for name, megabytes in sizes.binaries.items():
        _fill(release / name, megabytes * MEGABYTE, code)
        (release / name).chmod(0o755)
    _write_many(root / "core/web/dist", sizes.web_files, ".js", 29_000)
    (root / "core/web/dist/index.html").write_text("<!doctype html><title>bench</title>")
    _write_many(root / "services", sizes.services, ".yml", 3_500)
    (root / "Dockerfile").write_text(DOCKERFILE)
    (root / ".dockerignore").write_text(IGNORE)


def write_code(path: Path, megabytes: int) -> int:
    """Leave machine code in `path`; its size in bytes."""
    _fill(path, megabytes * MEGABYTE, _machine_code())
    return megabytes * MEGABYTE


def _fill(path: Path, left: int, code: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        while left > 0:
            left -= file.write(next(code)[:left])


def sources(root: Path) -> Iterator[Path]:
    """Each file that the Dockerfile copies."""
    for folder in ("target/release", "core/web/dist", "services"):
        yield from (path for path in (root / folder).rglob("*") if path.is_file())


def change(path: Path) -> None:
    """Change some bytes in the middle: a new build of the same program."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(secrets.token_hex(16).encode())


def touch(root: Path) -> None:
    """New times, the same bytes."""
    for path in sources(root):
        os.utime(path)


def _machine_code() -> Iterator[bytes]:
    """Real executables and libraries, over and over, each time a little different."""
    while True:
        for folder in map(Path, _MATERIAL):
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink() and path.stat().st_size > _FILES_MIN:
                    data = path.read_bytes()
                    if data.startswith(_ELF):
                        yield secrets.token_bytes(16) + data


def _write_many(folder: Path, count: int, suffix: str, size: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        lines = (
            f"  const value_{line} = {secrets.randbelow(9999)};\n" for line in range(size // 28)
        )
        (folder / f"file-{number:03}{suffix}").write_text("".join(lines))
