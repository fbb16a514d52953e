"""A job's work queue: its consumer, the datums that are put into it, and its end.

Everything here may be repeated. A datum that is put twice in one round carries the same Msg-Id; where
the stream has forgotten that, it is worked on twice, and the second outcome is refused. What is
deleted or purged stays away, because the job's record has left the states in which anybody puts.
"""

from collections.abc import Iterable
from functools import partial

from trunkline.bus import topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import BatchPublisher
from trunkline.contracts import records, subjects
from trunkline.coordinator.core import datums
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.settings import Settings


class JobQueue:
    """The queues of all jobs.

    Args:
        connection: In DATA.
        ingest: On that connection.
        settings: For the leases, and the copies that JetStream keeps.
    """

    def __init__(
        self, connection: NatsConnection, ingest: BatchPublisher, settings: Settings
    ) -> None:
        self._connection, self._ingest, self._settings = connection, ingest, settings

    async def open(self, job: records.Job) -> None:
        """Make the stream and the consumer be there; workers that pull already go on."""
        replicas = self._settings.replicas
        await topology.declare_pipeline(self._connection, job.pipeline, replicas=replicas)
        await topology.ensure_job_consumer(
            self._connection,
            job.pipeline,
            job.id,
            ack_wait_s=self._settings.ack_wait_s,
            max_ack_pending=self._settings.max_ack_pending,
        )

    async def put(self, job: records.Job, chosen: Iterable[Datum], *, round_: int) -> None:
        """Put datums into the queue; return once all are stored.

        Raises:
            UnavailableError: some may be stored; put them again.
            RefusedError: the server cannot store them now, a full disk, say.
        """
        subject = subjects.datums(job.pipeline, job.id)
        await self._ingest.put_all(subject, map(partial(_message, job, round_), chosen))

    async def gauge(self, job: records.Job) -> topology.Gauge | None:
        """Return how much waits and is in flight; None if there is no consumer."""
        return await topology.gauge(self._connection, job.pipeline, job.id)

    async def close(self, job: records.Job) -> None:
        """Take the consumer away from all who pull, then what still waits."""
        await topology.delete_job_consumer(self._connection, job.pipeline, job.id)
        stream = subjects.datums_stream(job.pipeline)
        await topology.purge(self._connection, stream, subjects.datums(job.pipeline, job.id))

    async def clear(self, job: records.Job) -> None:
        """Remove outcomes and attempts from their streams: they are in the archive."""
        outcomes = subjects.outcomes_of(job.pipeline, job.id)
        await topology.purge(self._connection, subjects.OUTCOMES_STREAM, outcomes)
        attempts = subjects.attempts_of(job.pipeline, job.id)
        await topology.purge(self._connection, subjects.ATTEMPTS_STREAM, attempts)


def _message(job: records.Job, round_: int, datum: Datum) -> tuple[str, bytes]:
    """Return the Msg-Id and the message of a datum."""
    generation = job.generations.get(str(datum.index), 1) if job.generations else 1
    msg_id = datums.message_id(job.id, datum.index, generation, round_)
    return msg_id, datums.message(job, datum, generation, round_)
