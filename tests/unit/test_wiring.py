"""What the settings decide about the real adapters."""

from pathlib import Path

import pytest

from deployer.adapters.cargo.toolchain import Cargo
from deployer.model import Secret
from deployer.settings.values import Settings
from deployer.wiring import wired


@pytest.mark.parametrize("trust", [True, False])
def test_no_cache_takes_no_earlier_process_s_word(tmp_path: Path, trust: bool) -> None:
    settings = Settings(
        api_url="http://127.0.0.1:1",
        api_token=Secret("a-token-of-some-length"),
        state_dir=tmp_path,
        environment={},
        trust_fingerprints=trust,
    )

    toolchain = wired(settings).toolchain

    assert isinstance(toolchain, Cargo)
    assert (toolchain._hashes._programs is not None) == trust
    assert (toolchain._leaks._searched is not None) == trust
