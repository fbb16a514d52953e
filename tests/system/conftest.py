from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support import installation
from tests.support.installation import Installation


def pytest_collection_modifyitems(items):
    """Whoever shares an installation shares its event loop."""
    for item in items:
        if "tests/system" in str(item.path) and "here" in item.fixturenames:
            # before the mark that all coroutines get
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show the ends of the logs of an installation that outlives the test that failed."""
    report = yield
    if report.failed and "here" in getattr(item, "funcargs", {}):
        report.sections.append(("Logs", installation.last_words(item.funcargs["here"].home)))
    return report


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here() -> AsyncIterator[Installation]:
    """An installation that the tests of a module share, each with names of its own."""
    async with installation.running(nodes=2) as made:
        yield made
