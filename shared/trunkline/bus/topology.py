"""The streams, buckets and consumers that we declare, as data, and what makes the server follow.

Declaring is level-triggered: what is missing is made, what differs is changed, and doing it again
changes nothing. Whoever needs a stream that is not there waits for it.
"""

from typing import Any, Literal

import msgspec

from trunkline.bus import jetstream
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import subjects
from trunkline.contracts.durability import Durability
from trunkline.contracts.wards import Ward

DAY_S = 24 * 3600
MINUTE_S = 60
GIB = 1 << 30

PIPELINE_MAX_CONSUMERS = 100_000
"""Jobs of one pipeline that may live at once: the server's own default is 1,000."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as we declare it. What is not said is the server's default."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"] = "limits"
    one_per_subject: bool = False
    """Keep the newest message of each subject only."""
    refuse_second: bool = False
    """With `one_per_subject`: keep the first message instead, and refuse all others for ever."""
    max_age_s: float = 0.0
    max_bytes: int = -1
    max_message_bytes: int = -1
    """Of one message, its headers included; a larger one is refused. The server's own limit is 1 MiB."""
    max_consumers: int = -1
    batches: bool = False
    """Whether it may be filled by fast ingest; see `batches`."""
    duplicate_window_s: float = 2 * MINUTE_S
    """How long Msg-Ids are remembered: longer than any publish is repeated."""

    def config(self, level: Durability) -> dict[str, Any]:
        """Return the stream's configuration in JetStream's words."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": self.retention,
            "storage": level.storage,
            "num_replicas": level.copies,
            "discard": "new" if self.refuse_second else "old",
            "discard_new_per_subject": self.refuse_second,
            "max_msgs_per_subject": 1 if self.one_per_subject else -1,
            "max_age": _ns(self.max_age_s),
            "max_bytes": self.max_bytes,
            "max_msg_size": self.max_message_bytes,
            "max_consumers": self.max_consumers,
            # the server lets none be longer than what is in the stream
            "duplicate_window": _ns(min(self.duplicate_window_s, self.max_age_s or DAY_S)),
            "allow_direct": True,  # single messages are read without a consumer
            "allow_batched": self.batches,
        }


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A key-value bucket as we declare it."""

    name: str
    history: int = 2
    """Messages that are kept of each key: the one before the last is there should that be garbage."""

    def config(self, level: Durability) -> dict[str, Any]:
        """Return the configuration of the bucket's stream, as NATS' KV clients make it."""
        return {
            "name": subjects.bucket_stream(self.name),
            "subjects": [f"$KV.{self.name}.>"],
            "retention": "limits",
            "storage": level.storage,
            "num_replicas": level.copies,
            "discard": "new",
            "max_msgs_per_subject": self.history,
            "duplicate_window": _ns(2 * MINUTE_S),
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "allow_msg_ttl": True,
        }


class Kept(msgspec.Struct, frozen=True):
    """For how long a stream keeps what is in it, and how much of that: the oldest goes."""

    age_s: float
    bytes: int


SAID_MAX_BYTES = 128 * 1024
"""Of a piece of output or an event of a worker: 16 KiB of control characters, six signs of JSON each, and who says it. Whoever
reads such a stream holds hundreds of its messages at a time, and answers with pages of them."""

LOGS_KEPT = Kept(7 * DAY_S, 4 * GIB)

CTL_STREAMS = (
    # Specs wait here while no coordinator is up; taken means gone.
    Stream(name=subjects.COMMANDS_STREAM, subjects=(subjects.APPLY,), retention="workqueue"),
    # To be read by people, never to decide anything: so it may forget.
    Stream(
        name=subjects.EVENTS_STREAM,
        subjects=(subjects.EVENTS,),
        max_age_s=30 * DAY_S,
        max_bytes=GIB,
    ),
)

CTL_BUCKETS = tuple(
    # The versions of a pipeline are worth a look back; all other records are what they are now.
    Bucket(name=name, history=16 if name == subjects.PIPELINES else 2)
    for name in subjects.BUCKETS
)

DATA_STREAMS = (
    # The truth. No limit of age or bytes: a lost outcome would be a datum done twice, or never.
    Stream(
        name=subjects.OUTCOMES_STREAM,
        subjects=(subjects.OUTCOMES,),
        one_per_subject=True,
        refuse_second=True,
        batches=True,
    ),
    # Ledgers change by compare-and-set: the newest holds all. Purged with their job.
    Stream(name=subjects.ATTEMPTS_STREAM, subjects=(subjects.ATTEMPTS,), one_per_subject=True),
    # A help for the reaper; a claim that is a day old is nobody's.
    Stream(
        name=subjects.CLAIMS_STREAM,
        subjects=(subjects.CLAIMS,),
        one_per_subject=True,
        max_age_s=DAY_S,
    ),
    Stream(
        name=subjects.ASSIGNMENTS_STREAM, subjects=(subjects.ASSIGNMENTS,), one_per_subject=True
    ),
    # A user's printing must never fill the disk, nor stop anybody: the oldest goes.
    Stream(
        name=subjects.LOGS_STREAM,
        subjects=(subjects.LOGS,),
        max_age_s=LOGS_KEPT.age_s,
        max_bytes=LOGS_KEPT.bytes,
        max_message_bytes=SAID_MAX_BYTES,
        batches=True,
    ),
    Stream(
        name=subjects.WORKER_EVENTS_STREAM,
        subjects=(subjects.WORKER_EVENTS,),
        max_age_s=30 * DAY_S,
        max_bytes=GIB,
        max_message_bytes=SAID_MAX_BYTES,
    ),
)


def datums_of(ward: Ward) -> Stream:
    """Return the work queue of one pipeline: a stream of its own, so that permissions can name it.

    Its window is longer than a listing takes to come to the same datum again after a crash.
    """
    return Stream(
        name=subjects.datums_stream(ward.pipeline),
        subjects=(subjects.datums_of(ward),),
        retention="workqueue",
        max_consumers=PIPELINE_MAX_CONSUMERS,
        batches=True,
        duplicate_window_s=10 * MINUTE_S,
    )


COMMANDS_ACK_WAIT_S = 5.0
"""After which a spec whose taker died is given to the next one."""


async def names(conn: NatsConnection) -> set[str]:
    """Return the names of all streams of the connection's account."""
    found: set[str] = set()
    while True:
        page = await conn.js_api("STREAM.NAMES", {"offset": len(found)})
        found.update(page["streams"] or ())
        if len(found) >= page["total"] or not page["streams"]:
            return found


async def declare_leaders(conn: NatsConnection, level: Durability = Durability.FILE) -> None:
    """Make the server have the bucket without which nobody can lead, and so declare the rest."""
    # its records go by themselves, and what was before one must not be there again then
    await _declare(conn, Bucket(name=subjects.LEADERS, history=1).config(level))


async def declare_ctl(
    conn: NatsConnection, level: Durability = Durability.FILE
) -> list[dict[str, Any]]:
    """Make the server have everything of the account CTL; return what its streams are."""
    declarations: tuple[Stream | Bucket, ...] = (*CTL_STREAMS, *CTL_BUCKETS)
    made = [await _declare(conn, declared.config(level)) for declared in declarations]
    await declare_commands(conn)
    return made


async def declare_bucket(
    conn: NatsConnection, bucket: Bucket, level: Durability, *, first: int
) -> None:
    """Make the server have a bucket again whose next revision is this one."""
    ahead = {"first_seq": first} if first > 1 else {}
    await _declare(conn, {**bucket.config(level), **ahead})


async def declare_commands(conn: NatsConnection) -> None:
    """Make the server have the consumer of published specs."""
    await _declare_consumer(
        conn,
        subjects.COMMANDS_STREAM,
        {
            "durable_name": subjects.COMMANDS_CONSUMER,
            "filter_subject": subjects.APPLY,
            "ack_policy": "explicit",
            "ack_wait": _ns(COMMANDS_ACK_WAIT_S),
            "max_ack_pending": 1,  # specs are taken one after the other, in order
        },
    )


async def declare_data(
    conn: NatsConnection, level: Durability = Durability.FILE, logs: Kept = LOGS_KEPT
) -> list[dict[str, Any]]:
    """Make the server have everything of the account DATA that no single pipeline owns, the same."""
    made = []
    for declared in DATA_STREAMS:
        stream = declared
        if declared.name == subjects.LOGS_STREAM:
            stream = msgspec.structs.replace(declared, max_age_s=logs.age_s, max_bytes=logs.bytes)
        made.append(await _declare(conn, stream.config(level)))
    return made


async def declare_pipeline(
    conn: NatsConnection, ward: Ward, level: Durability = Durability.FILE
) -> None:
    """Make the server have a pipeline's work queue."""
    await _declare(conn, datums_of(ward).config(level))


async def delete_pipeline(conn: NatsConnection, ward: Ward) -> None:
    """Make the server have no work queue of the pipeline, nor anything of it in other streams."""
    await _delete(conn, f"STREAM.DELETE.{subjects.datums_stream(ward.pipeline)}")
    await purge(conn, subjects.ASSIGNMENTS_STREAM, subjects.assignments(ward))
    await purge(conn, subjects.CLAIMS_STREAM, subjects.claims_of(ward))


async def ensure_job_consumer(
    conn: NatsConnection, ward: Ward, job: str, *, ack_wait_s: float, max_ack_pending: int
) -> None:
    """Make the server have the consumer of a job, with this ack wait and this share.

    Both may be changed while workers pull. There is no `max_deliver`: JetStream keeps a message
    that is over it for ever, unseen; the attempt ledger bounds the tries.

    Raises:
        JetStreamError: there is no work queue of the pipeline, among others.
    """
    await _declare_consumer(
        conn,
        subjects.datums_stream(ward.pipeline),
        {
            "durable_name": subjects.job_consumer(job),
            "filter_subject": subjects.datums(ward, job),
            "ack_policy": "explicit",
            "ack_wait": _ns(ack_wait_s),
            "max_ack_pending": max_ack_pending,
            "max_waiting": 16384,  # pull requests of all workers together
        },
    )


async def delete_job_consumer(conn: NatsConnection, pipeline: str, job: str) -> None:
    """Make the server have no consumer of the job; its datums stay until they are purged."""
    await _delete(
        conn, f"CONSUMER.DELETE.{subjects.datums_stream(pipeline)}.{subjects.job_consumer(job)}"
    )


async def purge(conn: NatsConnection, stream: str, subject_filter: str) -> None:
    """Remove all messages that match, taken or not; a stream that is not there has none."""
    try:
        await conn.js_api(f"STREAM.PURGE.{stream}", {"filter": subject_filter}, timeout_s=30.0)
    except jetstream.JetStreamError as error:
        if error.err_code != jetstream.STREAM_NOT_FOUND:
            raise


async def delete_message(conn: NatsConnection, stream: str, sequence: int) -> None:
    """Remove one message, if it is still there."""
    try:
        await conn.js_api(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
    except jetstream.JetStreamError as error:
        if error.err_code not in jetstream.MESSAGE_NOT_THERE:
            raise


async def _declare(conn: NatsConnection, config: dict[str, Any]) -> dict[str, Any]:
    """Create, which the server takes as a no-op if it is there just so; else change it.

    Returns:
        What it is by then.
    """
    name = config["name"]
    try:
        made = await conn.js_api(f"STREAM.CREATE.{name}", config)
    except jetstream.JetStreamError as error:
        if error.err_code != jetstream.STREAM_NAME_IN_USE:
            raise
        present = (await conn.js_api(f"STREAM.INFO.{name}"))["config"]
        # storage cannot be changed: what is there stays there
        made = await conn.js_api(
            f"STREAM.UPDATE.{name}", {**present, **config, "storage": present["storage"]}
        )
    found: dict[str, Any] = made["config"]
    return found


async def _declare_consumer(conn: NatsConnection, stream: str, config: dict[str, Any]) -> None:
    name = config["durable_name"]
    await conn.js_api(
        f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}",
        {"stream_name": stream, "config": {**config, "name": name}},
    )


async def _delete(conn: NatsConnection, verb: str) -> None:
    try:
        await conn.js_api(verb)
    except jetstream.JetStreamError as error:
        if error.err_code not in (jetstream.CONSUMER_NOT_FOUND, jetstream.STREAM_NOT_FOUND):
            raise


def _ns(seconds: float) -> int:
    return int(seconds * jetstream.SECOND_NS)
