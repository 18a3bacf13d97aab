"""What every test may ask for."""

import signal
from collections.abc import Callable
from typing import Final

import pytest

from tests.evidence import REAL, RECORDED, Evidence, id_of

EVIDENCE: Final = pytest.StashKey[Evidence]()


@pytest.fixture
def anyio_backend() -> str:
    """The engine's client needs asyncio, so deployer does."""
    return "asyncio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--failures-table", action="store_true", help="Show which failure ids were met, and how."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[EVIDENCE] = Evidence()
    # Under nohup, and behind a shell's `&`, the programs that tests start would ignore these, too;
    # what is handled here is no longer ignored behind exec.
    for number, handler in (
        (signal.SIGHUP, lambda *_: None),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def provoked(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Assert that `found` is the failure `failure_id`, brought about by real parts."""

    def check(failure_id: str, found: object) -> None:
        assert id_of(found) == failure_id, found
        request.config.stash[EVIDENCE].note(failure_id, REAL, request.node.nodeid)

    return check


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note that the behaviour `behaviour_id` was just observed; the test itself asserts it."""

    def note(behaviour_id: str) -> None:
        request.config.stash[EVIDENCE].note(behaviour_id, REAL, request.node.nodeid)

    return note


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note that a recording was understood as `failure_id`; the test itself asserts it."""

    def note(failure_id: str) -> None:
        request.config.stash[EVIDENCE].note(failure_id, RECORDED, request.node.name)

    return note


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the table last: its last line is the count."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not config.getoption("--failures-table"):
        return
    reporter.section("failures")
    for line in config.stash[EVIDENCE].lines():
        reporter.write_line(line)
