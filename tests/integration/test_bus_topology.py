"""Declaring is level-triggered: what is missing is made, what differs is changed."""

import asyncio
from typing import Any

import pytest
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import backlog, jetstream, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, messages, subjects, traces
from trunkline.worker_agent.core import printed

JOB = "0" * 32
HEADERS = {traces.HEADER: traces.of_set("x")}
STREAM = subjects.datums_stream("p1")


async def config(connection: NatsConnection, stream: str) -> dict[str, Any]:
    info = await connection.js_api(f"STREAM.INFO.{stream}")
    found: dict[str, Any] = info["config"]
    return found


async def test_declaring_again_changes_nothing(nats_server: TestServer) -> None:
    await nats_server.declare("p1")
    await nats_server.declare("p1")


async def test_outcomes_are_kept_for_ever_one_each(data: NatsConnection) -> None:
    found = await config(data, subjects.OUTCOMES_STREAM)
    assert found["max_msgs_per_subject"] == 1
    assert found["discard"] == "new"
    assert found["discard_new_per_subject"] is True
    assert found["max_bytes"] == -1
    assert found["max_age"] == 0
    assert found["allow_direct"] is True
    assert found["allow_batched"] is True


async def test_what_is_printed_is_kept_as_long_and_as_much_as_is_wanted(
    data: NatsConnection,
) -> None:
    await topology.declare_data(data, logs=topology.Kept(age_s=60, bytes=1_000_000))
    found = await config(data, subjects.LOGS_STREAM)
    assert (found["max_age"], found["max_bytes"]) == (60 * 10**9, 1_000_000)
    assert (found["duplicate_window"], found["discard"]) == (60 * 10**9, "old")


async def test_what_is_printed_is_kept_for_a_week_unless_it_is_said_otherwise_and_then_gone(
    data: NatsConnection, worker: NatsConnection
) -> None:
    assert (await config(data, subjects.LOGS_STREAM))["max_age"] == 7 * 24 * 3600 * 10**9
    subject = subjects.logs(ward("p1"), JOB, 0, "w1", "stdout")
    await Window(worker).put(subject, b"old")
    await topology.declare_data(data, logs=topology.Kept(age_s=0.2, bytes=1_000_000))
    async with asyncio.timeout(10):
        while (await data.js_api(f"STREAM.INFO.{subjects.LOGS_STREAM}"))["state"]["messages"]:
            await asyncio.sleep(0.02)


async def test_a_worker_says_nothing_that_is_too_large_to_be_handed_on(
    data: NatsConnection, worker: NatsConnection
) -> None:
    """The longest piece of output that there is passes: control characters, each an escape of JSON."""
    assert data.connected  # and all streams are there
    line = messages.LogLine(
        worker="w" * 63,
        datum="d" * 64,
        index=10**9,
        stream="stdout",
        text="\x01" * printed.PIECE_BYTES,
        at_ns=2**63 - 1,
        incarnation="i" * 64,
    )
    for subject in (
        subjects.logs(ward("p1"), JOB, 0, "w1", "stdout"),
        subjects.worker_event(ward("p1"), "attempt"),
    ):
        await Window(worker).put(subject, messages.encode(line), headers=HEADERS)
        with pytest.raises(errors.RefusedError):
            await Window(worker).put(subject, b"x" * topology.SAID_MAX_BYTES, headers=HEADERS)


async def test_buckets_are_what_nats_kv_expects(nats_server: TestServer) -> None:
    await nats_server.declare()
    async with nats_server.connect("coordinator") as ctl:
        pipelines = await config(ctl, "KV_trunkline_pipelines")
        jobs = await config(ctl, "KV_trunkline_jobs")
    assert (pipelines["max_msgs_per_subject"], jobs["max_msgs_per_subject"]) == (16, 2)
    assert jobs["allow_rollup_hdrs"] is True
    assert jobs["deny_delete"] is True
    assert jobs["subjects"] == ["$KV.trunkline_jobs.>"]


async def test_streams_of_before_come_to_take_batches(
    nats_server: TestServer, data: NatsConnection
) -> None:
    for stream in (STREAM, subjects.OUTCOMES_STREAM):
        older = await config(data, stream) | {"allow_batched": False}
        await data.js_api(f"STREAM.UPDATE.{stream}", older)
    await nats_server.declare("p1")
    for stream in (STREAM, subjects.OUTCOMES_STREAM):
        assert (await config(data, stream))["allow_batched"] is True


async def test_a_changed_stream_is_set_right_and_keeps_its_messages(data: NatsConnection) -> None:
    await Window(data).put(subjects.datums(ward("p1"), JOB), b"kept")
    changed = await config(data, STREAM) | {"duplicate_window": 60_000_000_000, "max_consumers": 7}
    del changed["max_consumers"]  # cannot be changed
    await data.js_api(f"STREAM.UPDATE.{STREAM}", changed)
    await topology.declare_pipeline(data, ward("p1"))
    assert (await config(data, STREAM))["duplicate_window"] == 600_000_000_000
    info = await data.js_api(f"STREAM.INFO.{STREAM}")
    assert info["state"]["messages"] == 1


async def test_a_job_has_more_consumers_than_the_servers_default(data: NatsConnection) -> None:
    assert (await config(data, STREAM))["max_consumers"] == topology.PIPELINE_MAX_CONSUMERS


async def until_there_wait(data: NatsConnection, count: int) -> None:
    """Return once so many datums wait; a consumer may see what its stream has got a moment later."""
    async with asyncio.timeout(10):
        while await backlog.gauge(data, "p1", JOB) != backlog.Gauge(pending=count, in_flight=0):
            await asyncio.sleep(0.01)


async def test_a_jobs_consumer_comes_changes_and_goes(data: NatsConnection) -> None:
    assert await backlog.gauge(data, "p1", JOB) is None
    await topology.delete_job_consumer(data, "p1", JOB)
    for share in (10, 10, 20):
        await topology.ensure_job_consumer(
            data, ward("p1"), JOB, ack_wait_s=15, max_ack_pending=share
        )
    info = await data.js_api(f"CONSUMER.INFO.{STREAM}.{JOB}")
    assert info["config"]["max_ack_pending"] == 20
    assert info["config"]["ack_wait"] == 15_000_000_000
    assert info["config"].get("max_deliver", -1) == -1
    await Window(data).put(subjects.datums(ward("p1"), JOB), b"")
    await until_there_wait(data, 1)
    await topology.purge(data, STREAM, subjects.datums(ward("p1"), JOB))
    await until_there_wait(data, 0)
    await topology.delete_job_consumer(data, "p1", JOB)
    await topology.delete_job_consumer(data, "p1", JOB)
    assert await backlog.gauge(data, "p1", JOB) is None


async def test_a_deleted_pipeline_leaves_nothing(data: NatsConnection) -> None:
    await Window(data).put(subjects.assignments(ward("p1")), b"jobs")
    await topology.delete_pipeline(data, ward("p1"))
    await topology.delete_pipeline(data, ward("p1"))
    await topology.purge(data, STREAM, ">")
    assert await backlog.gauge(data, "p1", JOB) is None
    assert await data.last(subjects.ASSIGNMENTS_STREAM, subjects.assignments(ward("p1"))) is None
    with pytest.raises(jetstream.JetStreamError):
        await topology.ensure_job_consumer(data, ward("p1"), JOB, ack_wait_s=1, max_ack_pending=1)


async def test_declaring_waits_for_a_server_that_restarts(
    nats_server: TestServer, data: NatsConnection
) -> None:
    await nats_server.restart()
    await topology.declare_data(data)
