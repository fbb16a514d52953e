"""What JetStream says of a stream and of a consumer, for metrics: as little as is shown, in our words."""

from typing import Any

import msgspec

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import subjects


class StreamLook(msgspec.Struct, frozen=True, kw_only=True):
    """A stream at one instant."""

    messages: int
    bytes: int
    first: int
    last: int
    last_ns: int
    """When the newest message was stored, wall clock of the server; 0 before there was one."""
    consumers: int
    subjects: int


class ConsumerLook(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer at one instant."""

    pending: int
    ack_pending: int
    redelivered: int
    waiting: int
    delivered: int
    delivered_stream: int
    ack_floor: int
    ack_floor_stream: int


async def stream(conn: NatsConnection, name: str) -> StreamLook | None:
    """Look at a stream; None: there is none. Raises UnavailableError."""
    info = await _asked(conn, f"STREAM.INFO.{name}")
    if info is None:
        return None
    state = info["state"]
    return StreamLook(
        messages=state["messages"],
        bytes=state["bytes"],
        first=state["first_seq"],
        last=state["last_seq"],
        last_ns=jetstream.parse_time(state["last_ts"]) if state["last_seq"] else 0,
        consumers=state["consumer_count"],
        subjects=state.get("num_subjects", 0),
    )


async def job_consumer(conn: NatsConnection, pipeline: str, job: str) -> ConsumerLook | None:
    """Look at the consumer of a job; None: there is none. Raises UnavailableError."""
    name = f"{subjects.datums_stream(pipeline)}.{subjects.job_consumer(job)}"
    info = await _asked(conn, f"CONSUMER.INFO.{name}")
    if info is None:
        return None
    return ConsumerLook(
        pending=info["num_pending"],
        ack_pending=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        waiting=info["num_waiting"],
        delivered=info["delivered"]["consumer_seq"],
        delivered_stream=info["delivered"]["stream_seq"],
        ack_floor=info["ack_floor"]["consumer_seq"],
        ack_floor_stream=info["ack_floor"]["stream_seq"],
    )


async def stored_ns(conn: NatsConnection, stream: str, subject: str, after: int) -> int | None:
    """Return when the first message on a subject after a sequence was stored; None: there is none."""
    query = {"seq": after + 1, "next_by_subj": subject}
    found = await _asked(conn, f"STREAM.MSG.GET.{stream}", query)
    return None if found is None else jetstream.parse_time(found["message"]["time"])


_NOT_THERE = frozenset(
    {jetstream.CONSUMER_NOT_FOUND, jetstream.STREAM_NOT_FOUND, *jetstream.MESSAGE_NOT_THERE}
)


async def _asked(
    conn: NatsConnection, verb: str, payload: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    try:
        return await conn.js_api(verb, payload)
    except jetstream.JetStreamError as error:
        if error.err_code in _NOT_THERE:
            return None
        raise
