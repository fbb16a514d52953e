"""Candidates on a real server: who leads, who takes over, and what may be sent meanwhile."""

import asyncio
import contextlib
import shutil

import pytest
from tests.support.candidates import candidate, leaders
from tests.support.nats import TestServer

from trunkline.bus.connection import connect
from trunkline.bus.tables import KvTable
from trunkline.contracts import errors, records, subjects


async def test_one_leads_and_the_other_follows_at_once_when_that_one_stops(
    nats_server: TestServer,
) -> None:
    async with candidate(nats_server, "b", life_s=60) as other:
        await other.until(1, 0)
        async with candidate(nats_server, "a", life_s=60) as standby:
            async with nats_server.connect("coordinator") as looks, asyncio.timeout(10):
                while not [each for each in await leaders(looks).all() if "." in each.key]:
                    await asyncio.sleep(0.01)
            assert standby.led == 0
            other.stop()
            await standby.until(1, 0)
        assert (other.led, other.ended) == (1, 1)


async def test_a_holder_whose_server_was_away_goes_on_where_it_was(nats_server: TestServer) -> None:
    async with candidate(nats_server, "a", life_s=0.3) as process:
        await process.until(1, 0)
        await nats_server.kill()
        async with asyncio.timeout(10):
            while process.candidacy.holds():
                await asyncio.sleep(0.01)
        assert process.candidacy.problems
        await nats_server.start()
        await process.holding()
        assert (process.led, process.ended) == (1, 0)


async def test_who_was_stopped_for_longer_than_its_claim_lives_stands_down_when_it_wakes(
    nats_server: TestServer,
) -> None:
    """1. It leads. 2. Another writes its own claim over it, as it does when this one is stopped. 3. This one
    learns of it, ends what leads, and stands by. 4. The other does not renew: this one leads again.
    """
    async with (
        candidate(nats_server, "a") as process,
        nats_server.connect("coordinator") as connection,
    ):
        await process.until(1, 0)
        table = leaders(connection)
        thief = records.Candidate(name="b", incarnation="b", term=2, life_s=0.5)
        while True:
            entry = await table.get(subjects.COORDINATOR)
            assert entry is not None
            with contextlib.suppress(errors.ConflictError):
                await table.update(subjects.COORDINATOR, thief, entry.revision)
                break
        await process.until(2, 1)
        assert process.candidacy.me.term == 3


async def test_a_bucket_that_is_lost_is_made_anew_and_somebody_leads(
    nats_server: TestServer,
) -> None:
    async with candidate(nats_server, "a", life_s=0.5) as process:
        await process.until(1, 0)
        await nats_server.kill()
        shutil.rmtree(nats_server.directory / "jetstream")
        await nats_server.start()
        await process.holding()


async def test_a_fenced_connection_sends_nothing_while_its_process_does_not_lead(
    nats_server: TestServer,
) -> None:
    await nats_server.declare("p1")
    holds = False
    url, inbox = nats_server.url("coordinator"), subjects.COORDINATOR_INBOX
    async with (
        connect(url, name="fenced", inbox=inbox, fence=lambda: holds) as fenced,
        nats_server.connect("coordinator") as free,
    ):
        table = KvTable(fenced, subjects.NODES, records.Nodes, write_s=0.3)
        with pytest.raises(errors.NotLeadingError):
            await table.put("local", records.Nodes(count=1))
        with pytest.raises(errors.NotLeadingError):
            await fenced.publish(subjects.event("p1", "x"), b"{}")
        with pytest.raises(errors.NotLeadingError):
            await fenced.js_api(f"STREAM.PURGE.{subjects.EVENTS_STREAM}", timeout_s=0.3)
        patient = KvTable(fenced, subjects.NODES, records.Nodes)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(patient.put("local", records.Nodes(count=2)))
            await asyncio.sleep(0)
            holds = True  # what was withheld while it was in doubt goes out when it is not
        async with asyncio.timeout(10):
            found = await KvTable(free, subjects.NODES, records.Nodes).get("local")
        assert found is not None
        assert found.value == records.Nodes(count=2)


@pytest.mark.parametrize("garbage", [b"\0no record", b'{"type": "v999"}', b"[" * 1_000_000])
async def test_garbage_over_the_leaders_claim_ends_in_somebody_leading(
    nats_server: TestServer, garbage: bytes
) -> None:
    """Whoever renews next finds that the claim has moved, and claims it anew; nobody looks for ever."""
    async with (
        candidate(nats_server, "a", life_s=0.5) as process,
        nats_server.connect("coordinator") as connection,
    ):
        await process.until(1, 0)
        for _ in range(3):
            await connection.publish(f"$KV.{subjects.LEADERS}.{subjects.COORDINATOR}", garbage)
            await connection.flush()
            async with asyncio.timeout(10):
                while (await leaders(connection).get(subjects.COORDINATOR)) is None:
                    await asyncio.sleep(0.01)
            await process.holding()
