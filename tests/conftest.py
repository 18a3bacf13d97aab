"""What every test may ask for."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The engine's client needs asyncio, so deployer does."""
    return "asyncio"
