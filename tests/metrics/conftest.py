from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support import installation, prometheus, watched
from tests.support.watched import Watched


def pytest_collection_modifyitems(items):
    """What is real here is Prometheus, its promtool, and a whole installation that they look at."""
    for item in items:
        if "tests/metrics" in str(item.path):
            item.add_marker(pytest.mark.metrics)
            item.add_marker(pytest.mark.timeout(180))
            if "run" in getattr(item, "fixturenames", ()):
                # before the mark that all coroutines get
                item.add_marker(pytest.mark.asyncio(loop_scope="package"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show the ends of the logs of an installation that outlives the test that failed."""
    report = yield
    if report.failed and "run" in getattr(item, "funcargs", {}):
        home = item.funcargs["run"].here.home
        report.sections.append(("Logs", installation.last_words(home)))
    return report


@pytest.fixture(scope="session")
def promtool() -> str:
    return prometheus.program("promtool")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def run(tmp_path_factory) -> AsyncIterator[Watched]:
    """An installation that has gone through everything that a dashboard is there to show."""
    async with watched.running(tmp_path_factory.mktemp("prometheus")) as made:
        await watched.everything(made)
        yield made
