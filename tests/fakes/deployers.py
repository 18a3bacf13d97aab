"""A deployer among in-memory neighbours, with a real journal."""

from pathlib import Path

from deployer.adapters.journal.journal import Journal
from deployer.adapters.text import Scrubber
from deployer.api import Deployer
from deployer.ports import Adapters
from deployer.ports import Clock as ClockPort
from deployer.run import DeployRequest
from tests.fakes.neighbours import (
    Api,
    Clock,
    DirectBuilder,
    Engine,
    Neighbours,
    PublicUrl,
    Registry,
)

API = "https://api.example"


def deployer(state_dir: Path, of: Neighbours, clock: Clock | None = None) -> Deployer:
    """One process's deployer: a second one on the same folder is the next process."""
    return Deployer(adapters(state_dir, of, clock or Clock()))


def adapters(state_dir: Path, of: Neighbours, clock: ClockPort) -> Adapters:
    """The neighbours, and a real journal."""
    scrubber = Scrubber()
    journal = Journal(state_dir, API, clock)
    return Adapters(
        toolchain=of,
        context=of,
        engine=Engine(of),
        direct=DirectBuilder(of),
        api=Api(of),
        registry=Registry(of),
        health=PublicUrl(of),
        source=of,
        journal=journal,
        clock=clock,
        scrub=scrubber.line,
        learn=scrubber.learn,
        aclose=journal.aclose,
        database=of,
        surroundings=of.surroundings,
    )


def request(root: Path, **changes: object) -> DeployRequest:
    """A deploy of tenant ten_1."""
    return DeployRequest(tenant="ten_1", project_root=root, app="sp-ten-1", **changes)  # type: ignore[arg-type]
