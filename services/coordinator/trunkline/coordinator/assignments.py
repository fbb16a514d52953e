"""Assignments: which jobs the workers of a pipeline may pull from.

The message is made from the job records each time, and published when it differs from what this
process published last; so calling it after every change of a job's state, and for each pipeline at
the start, is enough. It is never made from a part of the records: workers kill what they run for a
job that is missing in it.

It must fit into a message, and each job brings its whole command. So where there are many jobs, or large
commands, some wait: those that are assigned stay, and the oldest of the others come as these end. To
know who is assigned, also after a restart, what stands in the stream is read first. A crash between a state change and the publish leaves workers with the old
assignment until the next start of a coordinator, which publishes.

It is published by compare-and-set: a coordinator that is stopped in the middle, while another one leads,
would put its old one in the place of the other's new one, for good.
"""

from collections.abc import Collection, Mapping

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Publisher
from trunkline.contracts import errors, messages, records, subjects
from trunkline.contracts.messages import Assignment, JobTicket
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.coordinator.jobs import JobStore
from trunkline.runtime.turns import Turns

PULLED = frozenset({JobState.LISTING, JobState.RUNNING})
"""The states in which a job's datums may be worked on."""
MOST_BYTES = 768 * 1024
"""Of tickets in one assignment: less than a server's usual message, and more than one ticket has."""


class Assignments:
    """Publishes assignments.

    Args:
        jobs: All jobs, complete.
        wards: For the subjects.
        connection: In DATA.
        publisher: On that connection.
    """

    def __init__(
        self, jobs: JobStore, wards: Wards, connection: NatsConnection, publisher: Publisher
    ) -> None:
        self._jobs, self._wards = jobs, wards
        self._connection, self._publisher = connection, publisher
        self._published: dict[str, Assignment] = {}
        self._sequences: dict[str, int] = {}
        """Of what we have published last, by pipeline."""
        self._looked_up_to = 0
        """Sequence up to which the stream was looked through for what is not ours."""
        self._turns = Turns()

    async def publish(self, pipeline: str) -> None:
        """Tell the pipeline's workers which jobs there are, if that has changed.

        Raises:
            UnavailableError: unknown whether they are told; call again.
        """
        async with self._turns.of(pipeline):
            published = self._published.pop(pipeline, None)
            before = published or await self._stored(pipeline)
            while True:
                current = assignment(pipeline, self._jobs, before)
                if published == current or await self._put(pipeline, current):
                    break
                # a former leader's has come in between, or the stream was made anew
                before = await self._stored(pipeline)
            self._published[pipeline] = current

    async def publish_overwritten(self) -> list[str]:
        """Publish again what somebody else has put in the place of ours; return of which pipelines.

        Raises:
            UnavailableError: unknown whether there is any.
        """
        found: list[str] = []
        first = self._looked_up_to + 1
        async for page in self._connection.reads.pages(
            subjects.ASSIGNMENTS_STREAM, subjects.ASSIGNMENTS, first=first
        ):
            for stored in page:
                pipeline = stored.subject.split(".")[2]
                ours = self._sequences.get(pipeline)
                if ours is None or stored.sequence <= ours or not self._wards.owns(stored.subject):
                    continue
                self._published.pop(pipeline, None)
                await self.publish(pipeline)
                found.append(pipeline)
            self._looked_up_to = page[-1].sequence
        return found

    def forget_all(self) -> None:
        """Forget everything: the stream was made anew."""
        self._published.clear()
        self._sequences.clear()
        self._looked_up_to = 0

    def forget(self, pipeline: str) -> None:
        """Forget a pipeline that is deleted: one of the same name begins anew."""
        self._published.pop(pipeline, None)
        self._sequences.pop(pipeline, None)

    async def _stored(self, pipeline: str) -> Assignment | None:
        subject = subjects.assignments(self._wards.of(pipeline))
        stored = await self._connection.last(subjects.ASSIGNMENTS_STREAM, subject)
        self._sequences[pipeline] = stored.sequence if stored is not None else 0
        if stored is None:
            return None
        try:
            return messages.decode(subject, stored.data, Assignment)
        except errors.MalformedMessageError:
            return None  # workers cannot read it either

    async def _put(self, pipeline: str, current: Assignment) -> bool:
        """Publish; return False if there is another one than we know of."""
        subject = subjects.assignments(self._wards.of(pipeline))
        expected = self._sequences.pop(pipeline)
        try:
            acked = await self._publisher.put(
                subject, messages.encode(current), expected_last=expected
            )
        except errors.RefusedError as error:
            if error.code != errors.RefusedError.WRONG_LAST_SEQUENCE:
                raise
            return False
        self._sequences[pipeline] = acked.sequence
        return True


def assignment(pipeline: str, jobs: JobStore, before: Assignment | None = None) -> Assignment:
    """Return the assignment that follows from the records, and from what is assigned already."""
    tickets = [_ticket(job) for job in jobs.unsettled(pipeline) if job.state in PULLED]
    known = {each.job for each in before.jobs} if before is not None else set[str]()
    sizes = {each.job: len(messages.encode(each)) for each in tickets}
    chosen = fitting(sizes, known, MOST_BYTES)
    return Assignment(pipeline=pipeline, jobs=tuple(each for each in tickets if each.job in chosen))


def fitting(sizes: Mapping[str, int], known: Collection[str], most: int) -> set[str]:
    """Return which jobs are assigned: those that are known, then the others, until `most` is reached.

    One that is known stays whatever its size, since what runs for it would be killed; and there is
    always one.

    Args:
        sizes: Of all jobs, oldest first.
        known: Those that are assigned already, and perhaps some that are not there any more.
        most: Together.
    """
    chosen = {job for job in sizes if job in known}
    room = most - sum(sizes[job] for job in chosen)
    for job, size in sizes.items():
        if job in chosen:
            continue
        if size > room and chosen:
            break
        chosen.add(job)
        room -= size
    return chosen


def _ticket(job: records.Job) -> JobTicket:
    return JobTicket(
        job=job.id,
        version=job.version,
        code_hash=job.code_hash,
        transform=job.spec.transform,
        datum_tries=job.spec.datum_tries,
        datum_timeout_s=job.spec.datum_timeout_s,
        output_branch=job.spec.output_branch,
        speculates=job.spec.speculation is not None,
        traceparent=job.traceparent,
        generations=job.generations,
    )
