"""What a worker may write into a message's headers moves nothing beyond that message."""

import asyncio

import pytest
from tests.support.attacker import JOB, attacking
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus.ports import Message
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, subjects


@pytest.mark.parametrize(
    "header",
    [
        {"Nats-Rollup": "all"},
        {"Nats-TTL": "1s"},
        {"Nats-Schedule": "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target": "x"},
        {"Nats-Batch-Id": "x", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    ],
    ids=lambda header: next(iter(header)),
)
async def test_no_header_makes_more_of_a_message_than_it_is(
    nats_server: TestServer, header: dict[str, str]
) -> None:
    """In the streams that all pipelines share a rollup, say, would purge what others have stored."""
    async with (
        attacking(nats_server) as attacker,
        nats_server.connect_worker("victim") as victim,
    ):
        await Window(victim).put(subjects.attempts(ward("victim"), JOB, 0), b"true")
        with pytest.raises(errors.RefusedError):
            await attacker.put(subjects.attempts(ward("attacker"), JOB, 0), header)
        subject = subjects.attempts(ward("victim"), JOB, 0)
        assert await victim.last(subjects.ATTEMPTS_STREAM, subject)


async def test_a_trace_goes_where_its_asker_may_publish_only(nats_server: TestServer) -> None:
    """The server reports the way of a message to any subject that its header names, or refuses."""
    await nats_server.declare("attacker", "victim")
    heard: asyncio.Queue[Message] = asyncio.Queue()
    target = subjects.control(ward("victim"), "w1")
    async with (
        nats_server.connect_worker("attacker") as attacker,
        nats_server.connect_worker("victim") as victim,
    ):
        await victim.serve(target, heard.put)
        traced = {"Nats-Trace-Dest": target}
        await attacker.publish(subjects.claims(ward("attacker"), "w1"), b"", headers=traced)
        with pytest.raises(errors.PermissionViolationError):
            await attacker.flush()
        await victim.flush()
        assert heard.empty()
