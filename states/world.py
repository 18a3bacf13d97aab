"""What the work of a state is done with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deployer.model import Login, Secret
from deployer.ports import (
    Ahead,
    Clock,
    Emit,
    Engine,
    HealthProbe,
    ManagementApi,
    Registry,
    Toolchain,
)
from deployer.run import Facts, Intent


@dataclass(slots=True, kw_only=True)
class World:
    """One run's surroundings in this process. The only thing here that changes is the login."""

    toolchain: Toolchain
    engine: Engine
    ahead: Ahead
    api: ManagementApi
    registry: Registry
    health: HealthProbe
    clock: Clock
    emit: Emit
    learn: Callable[[Secret], None]  # a secret that must not be shown from now on
    # Durable before it returns: a POST may follow only a stored intent, and its answer is stored
    # before anything else happens.
    intend: Callable[[Intent], Awaitable[None]]
    answered: Callable[[Facts], Awaitable[None]]
    # In memory only: a login at rest is a secret at rest. After a resume it is fetched anew.
    login: Login | None = None
    logins: int = 0  # fetched by this process
