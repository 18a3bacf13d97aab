"""Deploy a systemprompt project: compile, image, push, run, and prove that it runs.

Importing this package is cheap; the names below are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from deployer.api import Deployer
    from deployer.errors import BusyError, DeployError, JournalError, SupersededError
    from deployer.events import Event
    from deployer.failures import ExitCode, Kind
    from deployer.failures import Failure as DeployFailure
    from deployer.handle import DeployHandle
    from deployer.model import Secret
    from deployer.names import InvalidNameError
    from deployer.ports import Adapters
    from deployer.preflight import Preflight
    from deployer.result import DeployResult
    from deployer.run import (
        BuilderWish,
        DeployRequest,
        OnLock,
        Outcome,
        RunRecord,
        Settlement,
        WaitPolicy,
    )
    from deployer.settings.values import Settings
    from deployer.states.flow import State

# Name -> where it lives, and what it is called there.
_HOMES: Final = {
    "Adapters": "ports",
    "BuilderWish": "run",
    "BusyError": "errors",
    "DeployError": "errors",
    "DeployFailure": "failures:Failure",
    "DeployHandle": "handle",
    "DeployRequest": "run",
    "DeployResult": "result",
    "Deployer": "api",
    "Event": "events",
    "ExitCode": "failures",
    "InvalidNameError": "names",
    "JournalError": "errors",
    "Kind": "failures",
    "Outcome": "run",
    "Preflight": "preflight",
    "RunRecord": "run",
    "Secret": "model",
    "Settings": "settings.values",
    "State": "states.flow",
    "SupersededError": "errors",
    "OnLock": "run",
    "Settlement": "run",
    "WaitPolicy": "run",
}

__all__ = [
    "Adapters",
    "BuilderWish",
    "BusyError",
    "DeployError",
    "DeployFailure",
    "DeployHandle",
    "DeployRequest",
    "DeployResult",
    "Deployer",
    "Event",
    "ExitCode",
    "InvalidNameError",
    "JournalError",
    "Kind",
    "OnLock",
    "Outcome",
    "Preflight",
    "RunRecord",
    "Secret",
    "Settings",
    "Settlement",
    "State",
    "SupersededError",
    "WaitPolicy",
]


def __getattr__(name: str) -> object:
    """Load a public name: the command line's `--help` must not wait for an HTTP client."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'deployer' has no attribute {name!r}")
    module, _, original = home.partition(":")
    found: object = getattr(import_module(f"deployer.{module}"), original or name)
    return found


def __dir__() -> list[str]:
    """The public names."""
    return __all__
