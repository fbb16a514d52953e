"""Each attempt is a span of its own in the job's trace, and all that is said of it carries that."""

from collections.abc import AsyncIterator

import pytest
from tests.support.nats import TestServer
from tests.support.wards import ward
from tests.support.workers import PIPELINE, Lab
from tests.support.workers import lab as make_lab

from trunkline.bus import present
from trunkline.contracts import subjects, traces

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


async def headers(lab: Lab, stream: str, subject: str) -> list[str]:
    """Return the traces that are stored on a subject, in order."""
    pages = present.behind(lab.data, stream, subject)
    return [each.headers.get(traces.HEADER, "") async for page in pages for each in page]


async def test_attempts_are_spans_of_the_jobs_trace_in_commands_outcomes_logs_and_events(
    lab: Lab,
) -> None:
    ticket = await lab.shell("echo $TRACEPARENT; exit 3", tries=2, traceparent=GIVEN)
    task = await lab.datum(ticket)
    await lab.worker("w1", ticket)
    await lab.outcome(task)
    printed = [each.text.strip() for each in await lab.logs(task) if each.stream == "stdout"]
    assert [traces.trace(each) for each in printed] == [traces.trace(GIVEN)] * 2
    assert len({GIVEN, *printed}) == 3

    of_pipeline = ward(PIPELINE)
    outcome = subjects.outcome(of_pipeline, task.job, 0, 1)
    assert await headers(lab, subjects.OUTCOMES_STREAM, outcome) == printed[1:]
    logs = subjects.logs_of(of_pipeline, task.job, stream="agent")
    assert await headers(lab, subjects.LOGS_STREAM, logs) == printed
    events = subjects.worker_events_of(of_pipeline)
    assert await headers(lab, subjects.WORKER_EVENTS_STREAM, events) == printed


async def test_the_claim_is_in_the_trace_of_what_executes(lab: Lab) -> None:
    ticket = await lab.shell("sleep 60", traceparent=GIVEN)
    await lab.datum(ticket)
    await lab.worker("w1", ticket)
    await lab.claim("w1", lambda claim: any(each.executing for each in claim.held))
    (told,) = await headers(lab, subjects.CLAIMS_STREAM, subjects.claims(ward(PIPELINE), "w1"))
    assert traces.trace(told) == traces.trace(GIVEN)
