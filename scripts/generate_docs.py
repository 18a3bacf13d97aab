"""Write the parts of the documentation that come from the code's own tables."""

import sys
from pathlib import Path
from typing import Final

from deployer.behaviours import BEHAVIOURS
from deployer.cli import exit_codes
from deployer.failures import Kind
from deployer.sandbox.faults import FAULTS
from deployer.states.flow import MOVES, WORKING, Event, State

ROOT: Final = Path(__file__).parents[1]
PHASES: Final = {
    "B": "Building",
    "I": "Imaging",
    "A": "Authenticating",
    "P": "Pushing",
    "D": "Deploying",
    "T": "the tool itself",
}
# The seven rows of the deploy document.
DOCUMENT: Final = (
    (Kind.COMPILE_ERROR, "Build", "Compilation error"),
    (Kind.DATABASE_URL_MISSING, "Build", "Missing DATABASE_URL"),
    (Kind.BINARY_MISSING, "Docker", "Binary not found"),
    (Kind.WEB_DIST_MISSING, "Docker", "Web dist not found"),
    (Kind.REGISTRY_AUTH, "Push", "Auth failure"),
    (Kind.IMAGE_NOT_FOUND, "Deploy", "Image not found"),
    (Kind.UPDATE_FAILED, "Deploy", "Machine update failed"),
)


def diagram() -> str:
    """The moves as a mermaid diagram; the resumes are one note, not five more arrows."""
    names = ", ".join(state.title for state in WORKING)
    lines = [
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {State.BUILDING.title}",
        *(
            f"    {row.source.title} --> {row.dest.title}: {row.event}"
            for row in MOVES
            if row.event is not Event.RESUMED
        ),
        f"    {State.DONE.title} --> [*]",
        f"    note right of {State.FAILED.title}",
        f"        resumed: back to {names},",
        "        whichever the failure names",
        "    end note",
        "```",
    ]
    return "\n".join(lines)


def table(head: str, rows: list[str]) -> str:
    """A table with these column names, joined by bars, and these whole rows."""
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|" + "---|" * columns, *rows])


def document_table() -> str:
    """The document's seven failures with the ids they have here."""
    rows = [
        f"| {phase} | {error} | {kind.id} | {kind.resolution} |" for kind, phase, error in DOCUMENT
    ]
    return table("Phase | Error | Id | Resolution", rows)


def failures_table() -> str:
    """Every failure of the catalogue."""
    rows = [
        f"| {kind.id} | {PHASES[kind.id[0]]} | {kind.name.lower().replace('_', ' ')} "
        f"| {kind.resolution} | {kind.retry.name} |"
        for kind in Kind
    ]
    return table("Id | Phase | Failure | Resolution | Tried again", rows)


def exit_codes_table() -> str:
    """The exit codes, as `--help` has them."""
    rows = [f"| {code} | {meaning} |" for code, meaning in exit_codes.table()]
    return table("Exit code | Meaning", rows)


def faults_table() -> str:
    """The sandbox's faults."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in FAULTS.items()]
    return table("Fault | What happens", rows)


def behaviours_table() -> str:
    """What happens and is no failure of its own."""
    rows = [
        f"| {each.id} | {PHASES[each.id[0]]} | {each.name} | {each.text} "
        f"| {each.reported.id if each.reported else ''} |"
        for each in BEHAVIOURS
    ]
    return table("Id | Phase | What | What is done | Else", rows)


# Which part of which file each text fills, between two marker lines.
PARTS: Final = {
    ("docs/states.md", "diagram"): diagram,
    ("docs/failures.md", "failures"): failures_table,
    ("docs/failures.md", "behaviours"): behaviours_table,
    ("README.md", "diagram"): diagram,
    ("README.md", "document"): document_table,
    ("README.md", "exit codes"): exit_codes_table,
    ("docs/sandbox.md", "faults"): faults_table,
}


def filled(text: str, part: str, content: str) -> str:
    """`text` with `content` between the markers of `part`."""
    begin, end = f"<!-- {part}: generated -->", f"<!-- {part}: end -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"no markers for {part}")
    return f"{head}{begin}\n{content}\n{end}{tail}"


def generated() -> dict[Path, str]:
    """Each file as it should be."""
    texts: dict[Path, str] = {}
    for (name, part), content in PARTS.items():
        path = ROOT / name
        texts[path] = filled(texts.get(path) or path.read_text(), part, content())
    return texts


def main() -> None:
    """Write the files."""
    for path, text in generated().items():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
