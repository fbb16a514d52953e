"""Assignments: which jobs the workers of a pipeline may pull from.

The message is made from the job records each time, and published when it differs from what this
process published last; so calling it after every change of a job's state, and for each pipeline at
the start, is enough. It is never made from a part of the records: workers kill what they run for a
job that is missing in it. A crash between a state change and the publish leaves workers with the old
assignment until the next start of a coordinator, which publishes.

It is published by compare-and-set: a coordinator that is stopped in the middle, while another one leads,
would put its old one in the place of the other's new one, for good.
"""

import asyncio

from trunkline.bus.ports import Connection, Publisher
from trunkline.contracts import errors, messages, records, subjects
from trunkline.contracts.messages import Assignment, JobTicket
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.jobs import JobStore

PULLED = frozenset({JobState.LISTING, JobState.RUNNING})
"""The states in which a job's datums may be worked on."""


class Assignments:
    """Publishes assignments.

    Args:
        jobs: All jobs, complete.
        wards: For the subjects.
        connection: In DATA.
        publisher: On that connection.
    """

    def __init__(
        self, jobs: JobStore, wards: Wards, connection: Connection, publisher: Publisher
    ) -> None:
        self._jobs, self._wards = jobs, wards
        self._connection, self._publisher = connection, publisher
        self._published: dict[str, Assignment] = {}
        self._sequences: dict[str, int] = {}
        """Of what we have published last, by pipeline."""
        self._locks: dict[str, asyncio.Lock] = {}

    async def publish(self, pipeline: str) -> None:
        """Tell the pipeline's workers which jobs there are, if that has changed.

        Raises:
            UnavailableError: unknown whether they are told; call again.
        """
        async with self._locks.setdefault(pipeline, asyncio.Lock()):
            current = assignment(pipeline, self._jobs)
            if self._published.get(pipeline) == current:
                return
            self._published.pop(pipeline, None)
            await self._put(pipeline, messages.encode(current))
            self._published[pipeline] = current

    def forget(self, pipeline: str) -> None:
        """Forget a pipeline that is deleted: one of the same name begins anew."""
        self._published.pop(pipeline, None)
        self._sequences.pop(pipeline, None)

    async def _put(self, pipeline: str, data: bytes) -> None:
        subject = subjects.assignments(self._wards.of(pipeline))
        while True:
            expected = self._sequences.pop(pipeline, None)
            if expected is None:
                stored = await self._connection.last(subjects.ASSIGNMENTS_STREAM, subject)
                expected = stored.sequence if stored is not None else 0
            try:
                acked = await self._publisher.put(subject, data, expected_last=expected)
            except errors.RefusedError as error:
                if error.code != errors.RefusedError.WRONG_LAST_SEQUENCE:
                    raise
                continue  # a former leader's has come in between, or the stream was made anew
            self._sequences[pipeline] = acked.sequence
            return


def assignment(pipeline: str, jobs: JobStore) -> Assignment:
    """Return the assignment that follows from the records."""
    return Assignment(
        pipeline=pipeline,
        jobs=tuple(_ticket(job) for job in jobs.unsettled(pipeline) if job.state in PULLED),
    )


def _ticket(job: records.Job) -> JobTicket:
    return JobTicket(
        job=job.id,
        version=job.version,
        code_hash=job.code_hash,
        transform=job.spec.transform,
        datum_tries=job.spec.datum_tries,
        datum_timeout_s=job.spec.datum_timeout_s,
        output_branch=job.spec.output_branch,
        input_commits=tuple((each.name, each.commit) for each in job.inputs),
        generations=job.generations,
    )
