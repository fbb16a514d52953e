"""What is left of a job in its queue, as its consumer tells: what waits, and what is in somebody's hands."""

from typing import Any

import msgspec

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import subjects


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a job waits, and how much is in somebody's hands."""

    pending: int
    in_flight: int


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages of a job are in somebody's hands: some of those in a range of sequences."""

    count: int
    floor: int
    """Every message up to this stream sequence is settled."""
    highest: int
    """No message after this stream sequence was delivered yet."""
    deliveries: int
    """As from `deliveries`."""


async def gauge(conn: NatsConnection, pipeline: str, job: str) -> Gauge | None:
    """Return how much of a job is left, or None when it has no consumer."""
    info = await _consumer(conn, pipeline, job)
    if info is None:
        return None
    return Gauge(pending=info["num_pending"], in_flight=info["num_ack_pending"])


async def deliveries(conn: NatsConnection, pipeline: str, job: str) -> int | None:
    """Return how many deliveries a job's consumer has made, or None when there is none.

    For `subjects.ack`: any message that is in flight may be settled with this count.
    """
    info = await _consumer(conn, pipeline, job)
    return None if info is None else int(info["delivered"]["consumer_seq"])


async def in_flight(conn: NatsConnection, pipeline: str, job: str) -> InFlight | None:
    """Return where a job's unsettled deliveries lie, or None when it has no consumer."""
    info = await _consumer(conn, pipeline, job)
    if info is None:
        return None
    return InFlight(
        count=info["num_ack_pending"],
        floor=info["ack_floor"]["stream_seq"],
        highest=info["delivered"]["stream_seq"],
        deliveries=info["delivered"]["consumer_seq"],
    )


async def _consumer(conn: NatsConnection, pipeline: str, job: str) -> dict[str, Any] | None:
    stream, consumer = subjects.datums_stream(pipeline), subjects.job_consumer(job)
    try:
        return await conn.js_api(f"CONSUMER.INFO.{stream}.{consumer}")
    except jetstream.JetStreamError as error:
        if error.err_code in (jetstream.CONSUMER_NOT_FOUND, jetstream.STREAM_NOT_FOUND):
            return None
        raise
