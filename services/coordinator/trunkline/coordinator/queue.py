"""A job's work queue: its consumer, the datums that are put into it, and its end.

Everything here may be repeated. A datum that is put twice in one round carries the same Msg-Id; where
the stream has forgotten that, it is worked on twice, and the second outcome is refused. What is
deleted or purged stays away, because the job's record has left the states in which anybody puts.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from trunkline.bus import backlog, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import BatchPublisher, Outgoing, Table
from trunkline.contracts import records, spec, subjects
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.wards import Wards
from trunkline.coordinator.core import datums, sets
from trunkline.coordinator.core.datums import Datum
from trunkline.coordinator.core.speculation import Running
from trunkline.coordinator.settings import Settings
from trunkline.runtime import tracing

_ALONE = spec.DatumSets()


class JobQueue:
    """The queues of all jobs.

    Args:
        connection: In DATA.
        ingest: On that connection.
        wards: For the subjects.
        settings: For the leases, and the copies that JetStream keeps.
        scaling: Says how many workers a pipeline may have.
    """

    def __init__(
        self,
        connection: NatsConnection,
        ingest: BatchPublisher,
        wards: Wards,
        settings: Settings,
        scaling: Table[records.Scaling],
    ) -> None:
        self._connection, self._ingest, self._wards = connection, ingest, wards
        self._settings, self._scaling = settings, scaling

    async def open(self, job: records.Job) -> None:
        """Make the stream and the consumer be there; workers that pull already go on."""
        ward = self._wards.of(job.pipeline)
        await topology.declare_pipeline(self._connection, ward, self._settings.durability)
        await topology.ensure_job_consumer(
            self._connection,
            ward,
            job.id,
            ack_wait_s=self._settings.ack_wait_s,
            max_ack_pending=self._settings.max_ack_pending,
        )

    async def put(self, job: records.Job, chosen: Sequence[Datum], *, round_: int) -> None:
        """Put datums into the queue; return once all are stored.

        In the first round they travel in the sets that the spec asks for. What is missing after that, or
        asked for anew, is few, and travels alone.

        Raises:
            UnavailableError: some may be stored; put them again.
            RefusedError: the server cannot store them now, a full disk, say.
        """
        restarted = job.generations and any(str(each.index) in job.generations for each in chosen)
        wanted = job.spec.datum_set_spec if round_ == 1 and not restarted else _ALONE
        workers = await self._workers(job.pipeline) if wanted.per_worker else 1
        groups = sets.grouped(chosen, wanted, workers)
        subject = subjects.datums(self._wards.of(job.pipeline), job.id)
        await self._ingest.put_all(_messages(subject, job, round_, groups))

    async def put_copy(self, job: records.Job, datum: Datum, slow: Running) -> None:
        """Put a datum into the queue once more, for a second worker to try beside the first.

        Raises:
            UnavailableError: it may be stored; put it again.
            RefusedError: the server cannot store it now.
        """
        beside = Attempt(worker=slow.worker, incarnation=slow.incarnation, started_ns=slow.since_ns)
        data = datums.message(job, datum, slow.generation, job.round, beside)
        subject = subjects.datums(self._wards.of(job.pipeline), job.id)
        name = datums.message_id(job.id, datum.index, slow.generation, job.round)
        await self._ingest.put_all(
            [Outgoing(subject, f"{name}/copy", data, tracing.headers(job.traceparent))]
        )

    async def _workers(self, pipeline: str) -> int:
        entry = await self._scaling.get(pipeline)
        return 1 if entry is None or entry.value is None else entry.value.cap

    async def gauge(self, job: records.Job) -> backlog.Gauge | None:
        """Return how much waits and is in flight; None if there is no consumer."""
        return await backlog.gauge(self._connection, job.pipeline, job.id)

    async def close(self, job: records.Job) -> None:
        """Take the consumer away from all who pull, then what still waits."""
        await topology.delete_job_consumer(self._connection, job.pipeline, job.id)
        stream = subjects.datums_stream(job.pipeline)
        waiting = subjects.datums(self._wards.of(job.pipeline), job.id)
        await topology.purge(self._connection, stream, waiting)

    async def clear(self, job: records.Job) -> None:
        """Remove outcomes and attempts from their streams: they are in the archive."""
        ward = self._wards.of(job.pipeline)
        outcomes = subjects.outcomes_of(ward, job.id)
        await topology.purge(self._connection, subjects.OUTCOMES_STREAM, outcomes)
        attempts = subjects.attempts_of(ward, job.id)
        await topology.purge(self._connection, subjects.ATTEMPTS_STREAM, attempts)


def _messages(
    subject: str, job: records.Job, round_: int, groups: Iterator[Sequence[Datum]]
) -> Iterator[Outgoing]:
    """Yield the message of each set of datums."""
    generations, headers = job.generations, tracing.headers(job.traceparent)
    for group in groups:
        of = [generations.get(str(each.index), 1) if generations else 1 for each in group]
        encoded = (
            datums.message(job, each, generation, round_)
            for each, generation in zip(group, of, strict=True)
        )
        rest = iter(zip(group, of, strict=True))
        for count, data in sets.packed(encoded):
            (first, generation), *_ = islice(rest, count)
            msg_id = datums.message_id(job.id, first.index, generation, round_, count)
            yield Outgoing(subject, msg_id, data, headers)
