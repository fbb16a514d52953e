"""What stories of a scaler begin with."""

from collections.abc import AsyncIterator

import pytest
from tests.support.simulated import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World(nodes=4).turning() as made:
        yield made
