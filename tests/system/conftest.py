import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support import installation
from tests.support.command_line import Command
from tests.support.installation import Installation

from trunkline.local.home import Home


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


@pytest.fixture(scope="module")
def trunkline() -> Iterator[Command]:
    """The command of an installation that the tests of a module share; it was left running."""
    home = Path(tempfile.mkdtemp(prefix="tl-"))
    command = Command(home)
    try:
        told = command.good("up", "--detach", "--nodes", "1", "--port", "0").err
        assert ":***@" in told
        yield command
        assert command("down").code == 0
        assert Home(home).supervisor() is None
        assert list(Home(home).pids.iterdir()) == []
    finally:
        command("down")
        shutil.rmtree(home, ignore_errors=True)
