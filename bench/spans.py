"""Spans of time of one run: what its parts took, and what is left when they are taken out."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

# Each call of the program becomes a line: its name, begin and end in seconds since the epoch.
_SHIM: Final = """\
#!/bin/sh
began=$(date +%s.%N)
"{program}" "$@"
code=$?
echo "{name} $began $(date +%s.%N)" >> "{times}"
exit $code
"""


class Span(NamedTuple):
    """From when to when something worked, in seconds since the epoch."""

    name: str
    began: float
    ended: float


def write_shims(folder: Path, programs: Mapping[str, str], times: Path) -> None:
    """Leave programs in `folder` that do the same and note when."""
    folder.mkdir(parents=True)
    for name, program in programs.items():
        (folder / name).write_text(_SHIM.format(program=program, name=name, times=times))
        (folder / name).chmod(0o755)


def read_spans(times: Path) -> list[Span]:
    """What was noted in `times`, and nothing more of it afterwards."""
    if not times.exists():
        return []
    lines = [line.split() for line in times.read_text().splitlines()]
    times.unlink()
    return [Span(name, float(began), float(ended)) for name, began, ended in lines]


def covered(spans: Iterable[Span]) -> float:
    """The seconds in which at least one of them worked."""
    return sum(ended - began for began, ended in _merged(spans))


def _merged(spans: Iterable[Span]) -> Iterator[tuple[float, float]]:
    now: tuple[float, float] | None = None
    for _, began, ended in sorted(spans, key=lambda span: span.began):
        if now is None or began > now[1]:
            if now is not None:
                yield now
            now = (began, ended)
        else:
            now = (now[0], max(now[1], ended))
    if now is not None:
        yield now
