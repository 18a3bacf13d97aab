"""The machine it runs on: tools, engine, disks, and the variables that change a build."""

import os
import platform
from pathlib import Path
from typing import Final

from deployer.doctor.exam import Exam
from deployer.doctor.finding import Advice, Finding, failed
from deployer.failures import Failure, Kind
from deployer.ports import EngineInfo
from deployer.run import Builder
from deployer.states.flow import State

_MIB: Final = 1 << 20
# Less than the first stops a deploy, less than the second is warned of.
TARGET_SPACE: Final = (64 * _MIB, 2048 * _MIB)
ENGINE_SPACE: Final = (64 * _MIB, 1024 * _MIB)
STATE_SPACE: Final = (1 * _MIB, 16 * _MIB)
_AMD64: Final = ("x86_64", "amd64")


async def python(_exam: Exam) -> tuple[Finding, ...]:
    """Which Python runs this."""
    return (Finding(name="python", text=platform.python_version()),)


async def git(exam: Exam) -> tuple[Finding, ...]:
    """Whether there is a git."""
    version = await exam.adapters.source.version()
    if version is None:
        return (Finding(name="git", text="no git that runs is on PATH", advice=Advice.GIT),)
    return (Finding(name="git", text=version),)


async def cargo(exam: Exam) -> tuple[Finding, ...]:
    """Whether there is a cargo."""
    version = await exam.adapters.toolchain.check(exam.plan.request.project_root)
    if isinstance(version, Failure):
        return (failed("cargo", version),)
    return (Finding(name="cargo", text=version),)


async def queries(exam: Exam) -> tuple[Finding, ...]:
    """What sqlx compiles against."""
    found = exam.adapters.toolchain.queries()
    if isinstance(found, Failure):
        return (failed("DATABASE_URL", found),)
    return (Finding(name="DATABASE_URL", text=found),)


async def database(exam: Exam) -> tuple[Finding, ...]:
    """Whether the database answers, where there are queries to check."""
    if not exam.adapters.toolchain.has_queries(exam.plan.request.project_root):
        return ()
    trouble = await exam.adapters.database.look()
    if trouble is None:
        return ()
    return (Finding(name="database", text=trouble, advice=Advice.DATABASE),)


async def engine(exam: Exam) -> tuple[Finding, ...]:
    """Who makes the image."""
    found = await exam.choice()
    if isinstance(found, Failure):
        return (failed("engine", found),)
    told = Finding(name="engine", text=found.shown)
    info = await exam.engine() if found.builder is Builder.ENGINE else None
    return (told, *_platform(info)) if isinstance(info, EngineInfo) else (told,)


def _platform(found: EngineInfo) -> tuple[Finding, ...]:
    foreign = found.platform.partition("/")[2] not in ("", *_AMD64)
    here = platform.machine()
    if not foreign and here in _AMD64:
        return ()
    text = f"the engine is {found.platform or 'unknown'}, this machine {here}"
    return (Finding(name="platform", text=text, advice=Advice.EMULATION),)


async def engine_disk(exam: Exam) -> tuple[Finding, ...]:
    """Space where the engine keeps images, if that is here."""
    root = await exam.adapters.engine.data_root()
    if not isinstance(root, Path):
        return ()
    return _space("engine disk", root, ENGINE_SPACE, (State.IMAGING, Kind.ENGINE_DISK_FULL))


async def target_disk(exam: Exam) -> tuple[Finding, ...]:
    """Space where cargo builds."""
    target = exam.plan.request.project_root / "target"
    return _space("target disk", target, TARGET_SPACE, (State.BUILDING, Kind.BUILD_DISK_FULL))


async def state_disk(exam: Exam) -> tuple[Finding, ...]:
    """Space for the journal."""
    folder = exam.adapters.surroundings.state_dir
    if folder is None:
        return ()
    return _space("journal disk", folder, STATE_SPACE, (State.BUILDING, Kind.STATE_DISK_FULL))


async def variables(exam: Exam) -> tuple[Finding, ...]:
    """Variables that make a build another one than expected."""
    environment = exam.adapters.surroundings.environment
    advice = {"RUSTC_WRAPPER": Advice.WRAPPER, "CARGO_TARGET_DIR": Advice.TARGET_DIR}
    return tuple(
        Finding(name="variables", text=f"{name} is set", advice=advised)
        for name, advised in advice.items()
        if environment.get(name)
    )


def _space(
    name: str, folder: Path, least: tuple[int, int], full: tuple[State, Kind]
) -> tuple[Finding, ...]:
    free = _free(folder)
    if free is None:
        return ()
    text = f"{free // _MIB} MiB free at {_existing(folder)}"
    phase, kind = full
    if free < least[0]:
        return (failed(name, Failure(phase=phase, kind=kind, cause=text)),)
    return (Finding(name=name, text=text, advice=Advice.DISK if free < least[1] else None),)


def _free(folder: Path) -> int | None:
    """Bytes that may be written at `folder`; None where nobody can tell."""
    try:
        disk = os.statvfs(_existing(folder))
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that is there."""
    # os.path.exists, other than Path's, is False where it may not look.
    return next(each for each in (folder, *folder.parents) if os.path.exists(each))  # noqa: PTH110
