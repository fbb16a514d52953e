"""A worker that pulls what its pipeline is assigned, and answers with what its `work` returns.

It is a plain client of the queue: no ledger, no claims, no files of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec
from tests.support.jobs import Site
from tests.support.wards import ward

from trunkline.bus import pulls
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Delivery, Message
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, messages, records, subjects
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.messages import Assignment, DatumTask, File, Outcome
from trunkline.contracts.states import Cause, DatumState

Work = Callable[[DatumTask], Outcome | None]
"""Returns a datum's outcome; None to leave it alone."""


class FakeWorker:
    """Works on all that its pipeline is assigned."""

    def __init__(self, connection: NatsConnection, pipeline: str, work: Work) -> None:
        self._connection, self._pipeline, self._work = connection, pipeline, work
        self._publisher = Window(connection)
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self._pulls: dict[str, pulls.StandingPull] = {}
        self.tasks: list[DatumTask] = []
        """All that it was given."""
        self.refused = 0

    async def run(self) -> None:
        subject = subjects.assignments(ward(self._pipeline))
        await self._connection.serve(subject, self._assigned)
        stored = await self._connection.last(subjects.ASSIGNMENTS_STREAM, subject)
        if stored is not None:
            await self._assigned(Message(subject=subject, data=stored.data))
        async with asyncio.TaskGroup() as tasks:
            for number in range(16):
                tasks.create_task(self._slot(), name=f"slot-{number}")

    async def _assigned(self, message: Message) -> None:
        assignment = messages.decode(message.subject, message.data, Assignment)
        for ticket in assignment.jobs:
            if ticket.job not in self._pulls:
                stream = subjects.datums_stream(self._pipeline)
                pull = pulls.StandingPull(
                    self._connection, stream, ticket.job, self._deliveries.put_nowait
                )
                self._pulls[ticket.job] = pull
                pull.start()
                pull.want(64)

    async def _slot(self) -> None:
        while True:
            delivery = await self._deliveries.get()
            task = messages.decode(delivery.subject, delivery.data, DatumTask)
            self._pulls[task.job].want(64)
            self.tasks.append(task)
            outcome = self._work(task)
            if outcome is None:
                continue
            subject = subjects.outcome(ward(task.pipeline), task.job, task.index, task.generation)
            try:
                await self._publisher.put(subject, messages.encode(outcome))
            except errors.RefusedError:
                self.refused += 1
            await delivery.ack()


@asynccontextmanager
async def worker(site: Site, pipeline: str, work: Work | None = None) -> AsyncIterator[FakeWorker]:
    async with site.server.connect_worker(pipeline) as connection, asyncio.TaskGroup() as tasks:
        made = FakeWorker(connection, pipeline, work or done)
        task = tasks.create_task(made.run(), name="worker")
        yield made
        task.cancel()


def done(task: DatumTask, files: Iterable[File] | None = None) -> Outcome:
    """Return the outcome of a datum whose output is its input, unless other files are given."""
    inputs = [file for each in task.inputs for file in each.files or ()]
    output = tuple(inputs if files is None else files)
    return Outcome(
        pipeline=task.pipeline,
        job=task.job,
        index=task.index,
        generation=task.generation,
        datum=task.datum,
        fingerprint=task.fingerprint,
        state=DatumState.PROCESSED,
        worker="w1",
        incarnation="i1",
        files=output,
        output_files=len(output),
        ended_ns=1,
    )


async def tried(site: Site, job: records.Job, index: int, worker: str) -> None:
    """Enter an attempt that has failed into a datum's ledger."""
    attempt = Attempt(
        worker=worker, incarnation="i1", started_ns=1, ended_ns=2, cause=Cause.USER_EXIT
    )
    subject = subjects.attempts(ward(job.pipeline), job.id, index)
    async with site.server.connect_worker(job.pipeline) as connection:
        await Window(connection).put(subject, messages.encode(Ledger(attempts=(attempt,))))


def failed(task: DatumTask, reason: str = "exit code 1") -> Outcome:
    return msgspec.structs.replace(
        done(task, ()), state=DatumState.FAILED, reason=reason, exit_code=1
    )
