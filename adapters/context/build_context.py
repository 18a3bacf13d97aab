"""The build context: looked at before anything runs, and packed for the engine."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from anyio import from_thread

from deployer.adapters.context.plan import (
    ContextPlan,
    context_failure,
    context_flaws,
    plan_context,
    read_failure,
)
from deployer.adapters.context.project_tree import Node
from deployer.adapters.context.tar import ChangedError, UnreadableError, write_tar
from deployer.adapters.leaks import Leaks
from deployer.adapters.marking import marked
from deployer.adapters.scratch import scratch_file
from deployer.adapters.text import clean
from deployer.adapters.threads import in_thread
from deployer.failures import Failure, Kind
from deployer.ports import ContextSummary, ImageOrder

_MEGABYTE: Final = 1_000_000  # bytes
_LARGE: Final = 100 * _MEGABYTE
_SHOWN: Final = 5  # paths in one warning


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedContext:
    """What a context would consist of, with its files as they are."""

    root: Path
    plan: ContextPlan
    mark: str  # another one as soon as anything in it changes
    changed: int  # when its files last did, in nanoseconds since the epoch

    @property
    def summary(self) -> ContextSummary:
        """What the engine would receive."""
        return summarise(self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedContext:
    """A finished tar in a file without a name. Close it, or leave its `with` block."""

    file: IO[bytes]  # at its beginning
    size: int  # bytes of the tar
    dockerfile: str  # its path inside the tar

    def __enter__(self) -> Self:
        """The open tar."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, and with it give its space back."""
        self.file.close()


class BuildContext:
    """Plans and packs contexts, off the event loop."""

    def __init__(self, *, mtime: int = 0, leaks: Leaks | None = None) -> None:
        """Give each member the time `mtime` (SOURCE_DATE_EPOCH), so that equal files are equal.

        `leaks`: what no file of a context may hold.
        """
        self._mtime = mtime
        self._leaks = leaks or Leaks()

    async def survey(self, order: ImageOrder, pending: frozenset[str]) -> ContextSummary | Failure:
        """Check each COPY source; `pending` are paths that Building will make."""
        plan = await in_thread(
            lambda: plan_context(
                order.project_root, order.dockerfile, pending, from_thread.check_cancelled
            )
        )
        return plan if isinstance(plan, Failure) else summarise(plan)

    async def flaws(self, order: ImageOrder, pending: frozenset[str]) -> tuple[Failure, ...]:
        """All that is wrong with it; `survey` tells the first."""
        return await in_thread(
            lambda: context_flaws(
                order.project_root, order.dockerfile, pending, from_thread.check_cancelled
            )
        )

    async def plan(self, order: ImageOrder) -> PlannedContext | Failure:
        """Look at everything that the tar would hold, and read nothing of it."""
        return await in_thread(lambda: self._planned(order))

    async def pack(self, planned: PlannedContext) -> PackedContext | Failure:
        """Write the tar, complete before any engine sees a byte.

        A read error while sending would look like an engine that is down (status 900, measured).
        """
        return await in_thread(lambda: self._packed(planned.root, planned.plan))

    async def leak(self, planned: PlannedContext) -> Failure | None:
        """The failure of the first file that holds a secret, of a context that is not packed.

        A password may be known today that was not when the context was packed.
        """
        return await in_thread(lambda: self._leak(planned.root, planned.plan))

    def _planned(self, order: ImageOrder) -> PlannedContext | Failure:
        root = order.project_root
        plan = plan_context(root, order.dockerfile, checkpoint=from_thread.check_cancelled)
        if isinstance(plan, Failure):
            return plan
        files = (each.path if each.node is Node.FILE else None for each in plan.entries)
        try:
            entries, changed = marked(root, zip(plan.entries, files, strict=True))
        except OSError as error:
            return read_failure(error)
        # The rest of what decides about the bytes that an engine gets.
        mark = f"{entries} {plan.dockerfile} {self._mtime}"
        return PlannedContext(root=root, plan=plan, mark=mark, changed=changed)

    def _packed(self, root: Path, plan: ContextPlan) -> PackedContext | Failure:
        leak = self._leak(root, plan)
        if leak is not None:
            return leak
        try:
            with ExitStack() as stack:
                file = stack.enter_context(scratch_file())
                write_tar(root, plan.entries, file, self._mtime, from_thread.check_cancelled)
                size = file.tell()
                file.seek(0)
                stack.pop_all()  # complete: the caller closes it
        except ChangedError as error:
            return context_failure(Kind.CONTEXT_CHANGED, f"{error} changed while it was packed")
        except UnreadableError as error:
            return read_failure(error.error)
        except OSError as error:
            return context_failure(Kind.ENGINE_DISK_FULL, f"cannot write the context: {error}")
        return PackedContext(file=file, size=size, dockerfile=plan.dockerfile)

    def _leak(self, root: Path, plan: ContextPlan) -> Failure | None:
        """The failure of the first file that holds a secret, whatever it is called."""
        try:
            for entry in plan.entries:
                from_thread.check_cancelled()
                if entry.node is Node.FILE and self._leaks.in_file(root / entry.path):
                    cause = f"{entry.path} holds a password that this deploy knows"
                    return context_failure(Kind.SECRET_IN_IMAGE, cause)
        except OSError as error:
            return read_failure(error)
        return None


def summarise(plan: ContextPlan) -> ContextSummary:
    """What the engine would receive, with what the user should know about it."""
    files = [entry for entry in plan.entries if entry.node is Node.FILE]
    size = sum(entry.size for entry in files)
    return ContextSummary(
        files=len(files),
        size=size,
        sources=tuple(source.text for source in plan.sources),
        warnings=(*_left_out_warning(plan.left_out), *_size_warning(plan, size)),
    )


def _left_out_warning(paths: tuple[str, ...]) -> tuple[str, ...]:
    if not paths:
        return ()
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    names = ", ".join(paths[:_SHOWN])
    return (clean(f"left out of the image (secrets, or links out of the project): {names}{more}"),)


def _size_warning(plan: ContextPlan, size: int) -> tuple[str, ...]:
    if size <= _LARGE:
        return ()
    largest = sorted(plan.entries, key=lambda entry: entry.size, reverse=True)[:_SHOWN]
    names = ", ".join(
        f"{entry.path} ({_megabytes(entry.size)})" for entry in largest if entry.size >= _MEGABYTE
    )
    return (clean(f"the build context has {_megabytes(size)}; largest: {names}"),)


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.0f} MB"
