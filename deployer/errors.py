"""What is raised: everything else that goes wrong is a `Failure`, a value."""

from deployer.failures import Failure


class DeployError(Exception):
    """A failure, for callers who prefer exceptions: `DeployResult.raise_for_failure()`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.id} {failure.cause}: {failure.resolution}")
        self.failure = failure


class JournalError(DeployError):
    """The journal cannot be read or written. Nothing goes on without a record."""


class BusyError(Exception):
    """Another process deploys this tenant."""

    def __init__(self, tenant: str, holder: str) -> None:
        super().__init__(f"another run of tenant {tenant} is in progress: {holder}")
        self.tenant = tenant
        self.holder = holder  # which run, which process, since when


class SupersededError(Exception):
    """Another process took this run over; this one must not write any more."""
