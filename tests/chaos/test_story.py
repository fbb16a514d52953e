"""Short jobs while everything is broken that can be: nothing is lost, nothing twice."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from tests.chaos import story
from tests.chaos.rows import Setup
from tests.support.installation import Installation

from trunkline.client.client import Client
from trunkline.contracts import errors


class Nobody:
    """A client of a server that never answers."""

    async def call(self, *_: Any) -> None:
        await asyncio.sleep(10)
        raise errors.UnavailableError("the server", "nobody answers")


@pytest.mark.looptime
async def test_a_story_in_which_nobody_answers_any_more_ends_in_time(tmp_path: Path) -> None:
    """Each client that has lost its patience once began the time anew."""
    here = Installation(tmp_path, None, cast("Client", Nobody()))
    async with asyncio.timeout(story.WITHIN_S + 1):
        with pytest.raises(TimeoutError):
            await story.end(here, "a" * 32)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["kills", "silences", "network", "store", "clocks", "everything"])
async def test_a_job_holds_whatever_breaks(what):
    ran = await story.run(Setup(what=what, datums=1500), 1, tell=print)
    assert ran.state == "SUCCESS", ran.reasons
    assert ran.holds, ran.report
    assert ran.report is not None
    assert ran.report.datums == ran.report.outcomes == ran.report.files == 1500
