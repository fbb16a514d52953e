"""One worker on a real server and store: what becomes of a datum."""

from collections.abc import AsyncIterator

import pytest
from tests.support.nats import TestServer
from tests.support.workers import Lab
from tests.support.workers import lab as make_lab

from trunkline.contracts.states import DatumState


@pytest.fixture
async def lab(nats_server: TestServer) -> AsyncIterator[Lab]:
    async with make_lab(nats_server) as made:
        yield made


async def test_a_datum_is_fetched_run_stored_and_acked(lab: Lab) -> None:
    ticket = await lab.shell(
        "tr a-z A-Z < $images > $PFS/out/up; mkdir -p $PFS/out/a/b; echo 1 > $PFS/out/a/b/c"
    )
    task = await lab.datum(ticket, 7, b"hello\n")
    await lab.worker("w1", ticket)
    outcome = await lab.outcome(task)
    assert outcome.state is DatumState.PROCESSED
    assert await lab.read(outcome) == {"/a/b/c": b"1\n", "/up": b"HELLO\n"}
    assert (outcome.output_files, outcome.output_bytes, outcome.attempts) == (2, 8, 1)
    assert (outcome.datum, outcome.fingerprint) == (task.datum, task.fingerprint)
    assert outcome.figures.download_bytes == 6
    assert outcome.figures.upload_bytes == 8
    assert outcome.figures.process_s > 0
    assert outcome.figures.peak_rss_bytes > 0
    await lab.until_settled(ticket)
    assert not await lab.has_ledger(task)
    await lab.claim("w1", lambda claim: claim.held == () and claim.pulled_ns > 0)
