"""What the settings decide about the real adapters."""

from pathlib import Path

import pytest

from deployer.adapters.cargo.toolchain import Cargo
from deployer.adapters.journal.journal import Journal
from deployer.adapters.management.api import Management
from deployer.api import Deployer
from deployer.failures import Failure
from deployer.model import Secret
from deployer.settings.values import Settings
from deployer.wiring import wired


def settings(state_dir: Path, *, trust_fingerprints: bool = True) -> Settings:
    return Settings(
        api_url="http://127.0.0.1:1",
        api_token=Secret("a-token-of-some-length"),
        state_dir=state_dir,
        environment={},
        trust_fingerprints=trust_fingerprints,
    )


@pytest.mark.parametrize("trust", [True, False])
def test_no_cache_takes_no_earlier_process_s_word(tmp_path: Path, trust: bool) -> None:
    toolchain = wired(settings(tmp_path, trust_fingerprints=trust)).toolchain

    assert isinstance(toolchain, Cargo)
    assert (toolchain._hashes._programs is not None) == trust
    assert (toolchain._leaks._searched is not None) == trust


@pytest.mark.anyio
async def test_what_was_opened_is_closed_each_time_a_deployer_is_left(tmp_path: Path) -> None:
    adapters = wired(settings(tmp_path))
    api, journal = adapters.api, adapters.journal
    assert isinstance(api, Management)
    assert isinstance(journal, Journal)

    def is_open() -> tuple[bool, bool]:
        return bool(api._http._clients), journal._connection is not None

    seen = []
    for _ in range(2):
        async with Deployer(adapters) as here:
            async with journal.hold("ten_1"):  # makes the journal
                assert await here.history() == ()
            assert isinstance(await api.account(), Failure)
            seen.append(is_open())
        seen.append(is_open())

    assert seen == [(True, True), (False, False)] * 2
