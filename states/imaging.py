"""Imaging: the engine turns binaries, web dist and services into an image."""

from dataclasses import replace

from deployer.failures import Failure
from deployer.ports import ImageOrder
from deployer.run import Run, StateOutcome, Step
from deployer.states.flow import Event
from deployer.states.world import World


async def imaging(run: Run, world: World) -> StateOutcome:
    """Build the image out of exactly the binaries that Building left."""
    request = run.plan.request
    damaged = await world.toolchain.damaged(run.facts.binaries)
    if damaged:
        # cargo calls a truncated binary fresh, so it has to forget it first (measured).
        kept = await world.toolchain.clean(request.project_root, damaged)
        names = ", ".join(binary.name for binary in damaged)
        return kept or Step(Event.BINARY_GONE, run.facts, f"{names}: not what Building left")
    image = await world.engine.build(image_order(run), world.emit)
    if isinstance(image, Failure):
        return image
    return Step(Event.IMAGED, replace(run.facts, image=image))


def image_order(run: Run) -> ImageOrder:
    """What this run's image is made of."""
    request = run.plan.request
    return ImageOrder(
        project_root=request.project_root,
        dockerfile=request.dockerfile,
        local_tag=local_tag(run),
    )


def local_tag(run: Run) -> str:
    """A name at the engine that belongs to this run alone."""
    return f"deployer-run:{run.id}"
