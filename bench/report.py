"""Turns `results.json` into the page and the graph of `docs/`."""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
DOCS: Final = HERE.parent / "docs"
_ROW: Final = 46
_LEFT: Final = 230
_WIDTH: Final = 640
_COLOURS: Final = ("#9aa4b2", "#2f6fde")

_BUILDERS: Final = {
    "buildkit": "BuildKit",
    "classic": "the classic builder",
    "buildah": "buildah",
}

PAGE: Final = """\
# How fast the image gets to the registry

What follows cargo's end: an image is made and brought to a registry, by the shell pipeline
(`docker build` and `docker push`, with a good ignore file) and by deployer's direct builder. Each
round changes the project once and lets both sides work on it, taking turns in going first; both have
the base image and mount it. The direct builder runs in a process that is up already, as it is when
cargo ends; starting the docker commands is part of the shell's time. Where cargo has something to
compile, deployer works while it runs: each crate that is compiled takes half a second here, one after the
other, and of the last one it is told in the moment in which the clock starts. Numbers are medians; a
ratio is the median of the pairs' ratios.

![Seconds of both, by case](performance.svg)

{tables}{whole}
## Where the difference comes from

- Three quarters of a `docker push` is one thread of Go's gzip. deployer compresses layers side by
  side with isal on a fast line, and with zlib-ng on a slow one; which one suits a registry is learnt
  from who waited for whom during the last push.
- Each COPY is a layer of its own that depends on nothing before it: a changed binary sends one layer,
  where an engine sends all that stand below it in the Dockerfile as well.
- Files whose inode, size and times did not change are not read, layers whose content did not change
  are not compressed, blobs that the registry has are not sent. `--no-cache` reads each file anew.
- With an engine, too, the layers of FROM, COPY and settings are deployer's: loaded into the engine, not
  built by it. The engine's own carry the time of the copy, so a push sends all again that follow a
  changed one.
- With an engine, an image whose sources and base images are unchanged is neither built nor pushed
  again: the engine gives it the new name, and the registry the new tag.

At 100 Mbit/s a cold push is bound by the line for both; what remains is the build step.

## Memory

A process that brings a binary of {large_mb} MB to the registry needs {peak_mib} MiB at most: layers
go through it in pieces.

## The run

{when}, {cpus} CPUs ({model}), {memory_gib} GiB, Python {python}; the load average of its last five
minutes was {load}, so other work ran beside it and the ratios say more than the seconds. Binaries of {main} MB and three of
{other} MB made of real machine code, {web_files} files of a web dist, {services} YAML files. Registry
and engine on the same machine; 100 Mbit/s is a proxy that lets 12.5 MB/s pass. `make bench` repeats
it and writes this page.
"""


def tables(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One table a line and shell."""
    for line, shell in dict.fromkeys((row["line"], row["shell"]) for row in rows):
        builder = _BUILDERS[shell]
        yield f"## {'Loopback' if line == 'loopback' else line}, against {builder}\n\n"
        yield "| | shell, s | direct, s | ratio |\n|---|---|---|---|\n"
        for row in rows:
            if (row["line"], row["shell"]) == (line, shell):
                seconds = f"{row['shell_seconds']:.2f} | {row['direct_seconds']:.2f}"
                yield f"| {row['scene']} | {seconds} | {row['ratio']:.1f} |\n"
        yield "\n"


WHOLE: Final = """\
## Whole deploys

From a cargo workspace to an answering URL, against a script with the same parts: `cargo build`,
`docker build` (BuildKit), `docker login` and `push`, `curl` for the token, the POST and the status.
Each side has a copy of the project and a tenant of its own. "After cargo" is from cargo's end until
the registry has the image. "Own" is what no part accounts for: neither cargo, git or a request, nor
a state that makes, pushes or runs the image; Python's start and its imports are most of it, the
hashing of what cargo made is in it. Medians of {rounds} rounds; load average {load}.

| | shell, s | after cargo | engine, s | ratio | after cargo | own, ms | direct, s | ratio | after cargo | own, ms |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}
After the direct builder the sandbox's machine pulls the image from the registry; after the engine it
has it, and so it has after the script. That is part of the seconds, and of none of the rest.

The states' own bookkeeping, five states with their commits to a journal on the disk, takes
{bookkeeping_ms:.1f} ms a run; {bookkeeping_in_memory_ms:.1f} ms where the disk is memory.
"""


def whole(results: dict[str, Any]) -> str:
    """The section on whole deploys; nothing where none were measured."""
    found = results.get("whole")
    if found is None:
        return ""
    return WHOLE.format(
        rows="".join(map(_whole_row, found["rows"])),
        rounds=len(found["rows"][0]["rounds"]),
        load=found["machine"]["load"],
        bookkeeping_ms=found["bookkeeping_ms"],
        bookkeeping_in_memory_ms=found["bookkeeping_in_memory_ms"],
    )


def _whole_row(row: dict[str, Any]) -> str:
    cells = [row["scene"], f"{row['shell_seconds']:.2f}", f"{row['shell_after_cargo']:.2f}"]
    for side in ("engine", "direct"):
        cells += [f"{row[f'{side}_seconds']:.2f}", f"{row[f'{side}_ratio']:.2f}"]
        own = row[f"{side}_overhead"] * 1000
        cells += [f"{row[f'{side}_after_cargo']:.2f}", f"{own:.0f}"]
    return f"| {' | '.join(cells)} |\n"


def graph(rows: list[dict[str, Any]]) -> str:
    """Bars of seconds, two a case."""
    shown = [row for row in rows if row["shell"] == "buildkit"]
    longest = max(max(row["shell_seconds"], row["direct_seconds"]) for row in shown)
    height = _ROW * len(shown) + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 110} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="100%" height="{height}" fill="#ffffff"/>',
        *_legend(),
    ]
    for place, row in enumerate(shown):
        parts += _bars(row, 48 + place * _ROW, _WIDTH / longest)
    return "\n".join([*parts, "</svg>\n"])


def _legend() -> Iterator[str]:
    for place, (name, colour) in enumerate(zip(("docker", "deployer"), _COLOURS, strict=True)):
        left = _LEFT + place * 110
        yield f'<rect x="{left}" y="14" width="14" height="14" fill="{colour}"/>'
        yield f'<text x="{left + 20}" y="26" fill="#222222">{name}</text>'


def _bars(row: dict[str, Any], top: int, scale: float) -> Iterator[str]:
    name = escape(f"{row['scene']}, {row['line']}")
    yield f'<text x="{_LEFT - 10}" y="{top + 21}" text-anchor="end" fill="#222222">{name}</text>'
    for place, key in enumerate(("shell_seconds", "direct_seconds")):
        y, width = top + place * 16, max(2.0, row[key] * scale)
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="14" fill="{_COLOURS[place]}"/>'
        label = f"{row[key]:.2f} s"
        yield f'<text x="{_LEFT + width + 6:.1f}" y="{y + 12}" fill="#222222">{label}</text>'


def main() -> None:
    """Write the page and the graph."""
    results = json.loads((HERE / "results.json").read_text())
    values = {**results, **results["machine"], **results["sizes"]}
    values["whole"] = whole(results)
    page = PAGE.format(tables="".join(tables(results["rows"])), **values)
    (DOCS / "performance.md").write_text(page)
    (DOCS / "performance.svg").write_text(graph(results["rows"]))


if __name__ == "__main__":
    main()
