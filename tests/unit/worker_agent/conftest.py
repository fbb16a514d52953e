import asyncio
import tempfile
from collections.abc import AsyncIterator

import pytest
from tests.support import shims


@pytest.fixture(params=shims.BOTH)
async def shim(request: pytest.FixtureRequest) -> AsyncIterator[shims.ShimProcess]:
    """Either shim, greeted: what is said of one holds for both."""
    with tempfile.TemporaryDirectory() as folder:
        if request.param == "python":
            started = shims.of_pair()
        else:
            path = f"{folder}/agent.sock"
            started = await shims.come(shims.on_path("static", path), path)
        try:
            async with asyncio.timeout(10):
                await started.link.hello()
            yield started
        finally:
            started.end()
