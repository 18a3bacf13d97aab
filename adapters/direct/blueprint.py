"""From a project on the disk to its image on paper. Blocks: call it in a thread."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from anyio import from_thread

from deployer.adapters.context.build_context import summarise
from deployer.adapters.context.entries import Entry
from deployer.adapters.context.plan import ContextPlan, context_failure, plan_context, read_failure
from deployer.adapters.context.project_tree import Node
from deployer.adapters.direct.assembly import Assembly, assembled
from deployer.adapters.direct.context_view import ContextView, entries_of
from deployer.adapters.direct.image_tree import parents
from deployer.adapters.direct.instructions import Program, qualified
from deployer.adapters.direct.values import Base, RefusedError, refusal
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.ports import ImageOrder

_OWNER_EXECUTES: Final = 0o100


def read_program(order: ImageOrder) -> Program | Failure:
    """The Dockerfile, if it qualifies."""
    try:
        text = (order.project_root / order.dockerfile).read_text("utf-8")
        return qualified(text)
    except RefusedError as error:
        failure = refusal(error)
        return replace(failure, cause=clean(f"{order.dockerfile}: {failure.cause}"))
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return context_failure(Kind.DOCKERFILE_MISSING, f"{order.dockerfile}: {cause}")


def drawn(
    order: ImageOrder, program: Program, base: Base, pending: frozenset[str] = frozenset()
) -> tuple[Assembly, tuple[str, ...]] | Failure:
    """The image on paper, with what the user should know; `pending` are still to be made."""
    root = order.project_root
    plan = plan_context(root, order.dockerfile, pending, from_thread.check_cancelled)
    if isinstance(plan, Failure):
        return plan
    try:
        context = _context(root, plan, pending)
        return assembled(program, base, context), summarise(plan).warnings
    except RefusedError as error:
        return refusal(error)
    except OSError as error:
        return read_failure(error)


def _context(root: Path, plan: ContextPlan, pending: frozenset[str]) -> ContextView:
    def executable(path: str) -> bool:
        return path in pending or bool((root / path).lstat().st_mode & _OWNER_EXECUTES)

    return ContextView(
        [*entries_of(plan.entries, plan.hidden), *_awaited(plan, pending)], executable
    )


def _awaited(plan: ContextPlan, pending: frozenset[str]) -> list[Entry]:
    """What Building will make, as if it were there."""
    there = {entry.path for entry in plan.entries}
    made = {path: Entry(path, Node.FILE) for path in pending}
    above = {parent: Entry(parent, Node.DIRECTORY) for path in pending for parent in parents(path)}
    return [entry for entry in sorted((above | made).values()) if entry.path not in there]
