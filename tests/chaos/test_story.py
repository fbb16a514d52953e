"""Short jobs while everything is broken that can be: nothing is lost, nothing twice."""

import pytest
from tests.chaos import story
from tests.chaos.rows import Setup


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["kills", "silences", "network", "store", "clocks", "everything"])
async def test_a_job_holds_whatever_breaks(what):
    ran = await story.run(Setup(what=what, datums=1500), 1, tell=print)
    assert ran.state == "SUCCESS", ran.reasons
    assert ran.holds, ran.report
    assert ran.report is not None
    assert ran.report.datums == ran.report.outcomes == ran.report.files == 1500
