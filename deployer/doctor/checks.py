"""The checks as one table, and the look that asks them all at once."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import anyio

from deployer.doctor import machine, past, project, remote
from deployer.doctor.exam import Exam
from deployer.doctor.finding import Finding

Look = Callable[[Exam], Awaitable[tuple[Finding, ...]]]


class Needs(Enum):
    """What must be there for a check to mean anything."""

    NOTHING = auto()
    BUILD = auto()  # something is compiled and built
    API = auto()  # a usable login at the Management API
    PUSH = auto()  # both
    IMAGE = auto()  # the API, for an image that is there already


@dataclass(frozen=True, slots=True)
class Check:
    """One question."""

    look: Look
    needs: Needs
    at_deploy: bool  # each deploy asks it, too
    at_dry_run: bool = False  # a deploy finds it out otherwise


# In the order in which a run would meet what they find.
CHECKS: Final = (
    Check(machine.python, Needs.NOTHING, at_deploy=False),
    Check(machine.git, Needs.NOTHING, at_deploy=False),
    Check(machine.variables, Needs.BUILD, at_deploy=False),
    Check(project.commit, Needs.BUILD, at_deploy=True),
    Check(past.usable, Needs.NOTHING, at_deploy=False, at_dry_run=True),
    Check(past.runs, Needs.NOTHING, at_deploy=False),
    Check(machine.state_disk, Needs.NOTHING, at_deploy=True),
    Check(past.login_lasts, Needs.API, at_deploy=True),
    Check(project.crates, Needs.BUILD, at_deploy=True),
    Check(machine.queries, Needs.BUILD, at_deploy=True),
    Check(machine.cargo, Needs.BUILD, at_deploy=True),
    Check(machine.database, Needs.BUILD, at_deploy=True),
    Check(machine.target_disk, Needs.BUILD, at_deploy=True),
    Check(project.context, Needs.BUILD, at_deploy=True),
    Check(project.copies, Needs.BUILD, at_deploy=True),
    Check(machine.engine, Needs.BUILD, at_deploy=True),
    Check(machine.engine_disk, Needs.BUILD, at_deploy=False),
    Check(remote.account, Needs.API, at_deploy=False),
    Check(remote.login, Needs.API, at_deploy=True),
    Check(remote.registry, Needs.API, at_deploy=True),
    Check(remote.image, Needs.API, at_deploy=True),
    Check(remote.pushed, Needs.IMAGE, at_deploy=False, at_dry_run=True),
    Check(remote.push, Needs.PUSH, at_deploy=True),
    Check(remote.status, Needs.API, at_deploy=False),
)


async def findings(exam: Exam, checks: Sequence[Check]) -> tuple[Finding, ...]:
    """What the checks found, in their order; all of them look at the same time."""
    found: list[tuple[Finding, ...]] = [()] * len(checks)

    async def look(place: int, check: Check) -> None:
        found[place] = await check.look(exam)

    async with anyio.create_task_group() as group:
        for place, check in enumerate(checks):
            group.start_soon(look, place, check)
    return tuple(finding for each in found for finding in each)


def of_deploy(*, builds: bool) -> tuple[Check, ...]:
    """What a deploy asks before it starts anything."""
    return tuple(check for check in _needed(builds=builds) if check.at_deploy)


def of_dry_run(*, builds: bool) -> tuple[Check, ...]:
    """The same, and what a deploy finds out as it takes the lock or as its run begins."""
    return tuple(check for check in _needed(builds=builds) if check.at_deploy or check.at_dry_run)


def _needed(*, builds: bool) -> Iterator[Check]:
    wanted = {Needs.NOTHING, Needs.API, *((Needs.BUILD, Needs.PUSH) if builds else (Needs.IMAGE,))}
    return (check for check in CHECKS if check.needs in wanted)


def of_doctor(*, api: bool) -> tuple[Check, ...]:
    """Every question, or those that need no Management API."""
    wanted = (Needs.NOTHING, Needs.BUILD, *((Needs.API, Needs.PUSH) if api else ()))
    return tuple(check for check in CHECKS if check.needs in wanted)
