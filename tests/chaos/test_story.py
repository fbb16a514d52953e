"""Short jobs while everything is broken that can be: nothing is lost, nothing twice."""

import asyncio
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, cast

import pytest
from tests.chaos import story
from tests.chaos.rows import Setup
from tests.support.installation import Installation

from trunkline.chaos.core import schedule
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


def enough(what: str, seed: int) -> int:
    """Return so many datums that a seed's first two faults come before they can be done, on the fastest machine."""
    _, second = islice(schedule.faults(seed, schedule.HABITS[what]), 2)
    slept_s = (story.SHORTEST_MS + story.LONGEST_MS) / 2000 / story.WORKERS
    return max(1500, ceil((second.at_s + 1) / slept_s))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["kills", "silences", "network", "store", "clocks", "everything"])
async def test_a_job_holds_whatever_breaks(what):
    datums = enough(what, 1)
    ran = await story.run(Setup(what=what, datums=datums), 1, tell=print)
    assert ran.state == "SUCCESS", ran.reasons
    assert ran.faults
    assert ran.holds, ran.report
    assert ran.report is not None
    assert ran.report.datums == ran.report.outcomes == ran.report.files == datums
