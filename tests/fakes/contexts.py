"""A build context in one call."""

from deployer.adapters.context.build_context import BuildContext, PackedContext
from deployer.failures import Failure
from deployer.ports import ImageOrder


async def packed_context(
    order: ImageOrder, context: BuildContext | None = None
) -> PackedContext | Failure:
    """Planned and packed."""
    context = context or BuildContext()
    planned = await context.plan(order)
    return planned if isinstance(planned, Failure) else await context.pack(planned)
