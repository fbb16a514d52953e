"""One task for each job that is under way, whatever happens.

A job whose task fails is tried again with back-off, and its neighbours never notice. Nothing is kept here that a new
process would miss: the records say which jobs are under way.
"""

import asyncio
import logging

from trunkline.contracts.states import JobState
from trunkline.coordinator.jobs import JobStore
from trunkline.coordinator.runner import JobRunner
from trunkline.runtime import backoff

log = logging.getLogger(__name__)


class Driver:
    """Drives jobs to their end.

    Args:
        jobs: What is known of them.
        runner: Runs one.
        woken: Set when there is something to be looked at.
    """

    def __init__(self, jobs: JobStore, runner: JobRunner, woken: asyncio.Event) -> None:
        self._jobs, self._runner, self._woken = jobs, runner, woken
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Begin a task for each job that is under way and has none."""
        for job in self._jobs.unsettled():
            key = (job.pipeline, job.id)
            if job.state is not JobState.WAITING and key not in self._running:
                task = tasks.create_task(self._drive(*key), name=f"job-{job.pipeline}@{job.id}")
                self._running[key] = task

    def begin_anew(self) -> None:
        """Take up all jobs from their records: what is folded of their outcomes is not stored any more."""
        for key, task in self._running.items():
            job = self._jobs.known(*key)
            if job is not None and job.state in (JobState.LISTING, JobState.RUNNING):
                task.add_done_callback(lambda _: self._woken.set())
                task.cancel()

    async def _drive(self, pipeline: str, job: str) -> None:
        failures = 0
        try:
            while True:
                try:
                    await self._runner.run(pipeline, job)
                except Exception:  # the outermost loop of a job
                    failures += 1
                    where = {"pipeline": pipeline, "job": job, "failures": failures}
                    log.exception("job failed to go on, trying again", extra=where)
                    await asyncio.sleep(backoff.delay_s(failures))
                else:
                    return
        finally:
            del self._running[pipeline, job]
