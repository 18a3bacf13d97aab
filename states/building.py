"""Building: cargo compiles the binary and the MCP servers."""

from dataclasses import replace

from deployer.failures import Failure
from deployer.run import Run, StateOutcome, Step
from deployer.states.flow import Event
from deployer.states.world import World


async def building(run: Run, world: World) -> StateOutcome:
    """Compile each crate; leave the binaries with their hashes."""
    plan = run.plan
    built = await world.toolchain.build(
        plan.request.project_root, plan.crates, world.emit, world.ahead.built
    )
    if isinstance(built, Failure):
        return built
    return Step(Event.BUILT, replace(run.facts, binaries=built))
