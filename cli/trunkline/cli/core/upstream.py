"""What keeps a job from its input: the jobs above it that hold up all the others on the way.

The jobs of a set are a graph and no tree: with two pipelines a layer there are 2^n ways through n layers. So each
job is asked for once, the nearest first, and ASKED of them at most; whoever has a record answers `take`.

Above a job that waits, all count that have not succeeded; above one that is UNRUNNABLE, those that have ended
badly. What none of these waits for itself is a *root*: it alone is worth a closer look.
"""

from collections import deque

from trunkline.contracts import records
from trunkline.contracts.states import JobState

ASKED = 200
"""Jobs that are asked for; a DAG that has more above one job is not looked through."""

_KEPT_FROM_INPUT = (JobState.WAITING, JobState.UNRUNNABLE)


class Search:
    """Looks through what is above a job. Invariant: no name is wanted twice."""

    def __init__(self, job: records.Job) -> None:
        self._job = job
        self._found: dict[str, records.Job] = {}
        self._reader: dict[str, str] = {}
        """Pipeline -> the nearest one that reads its output."""
        self._queue: deque[str] = deque()
        self._asked = 0
        self._expand(job)

    @property
    def wanted(self) -> str:
        """The pipeline whose job of the same id is to be taken next; empty if there is none."""
        return self._queue[0] if self._queue and self._asked < ASKED else ""

    @property
    def cut(self) -> bool:
        """Whether there are jobs above that were not looked at."""
        return bool(self._queue) and not self.wanted

    def take(self, job: records.Job | None) -> None:
        """Take the job that was wanted into account; None if it was deleted."""
        name = self._queue.popleft()
        self._asked += 1
        if job is None or job.state is JobState.SUCCESS:
            return
        if self._job.state is JobState.WAITING or job.state.ended:
            self._found[name] = job
            self._expand(job)

    def roots(self) -> list[records.Job]:
        """Return the roots: first those that have ended, and of these the earliest; then the nearest."""
        found = [
            each for each in self._found.values() if not any(n in self._found for n in _reads(each))
        ]
        return sorted(found, key=lambda each: (not each.state.ended, each.ended_ns))

    def way(self, root: records.Job) -> tuple[records.Job, ...]:
        """Return the jobs between, the nearest first."""
        between: list[records.Job] = []
        name = self._reader[root.pipeline]
        while name != self._job.pipeline:
            between.append(self._found[name])
            name = self._reader[name]
        return tuple(reversed(between))

    def _expand(self, job: records.Job) -> None:
        for name in _reads(job):
            if name not in self._reader and name != self._job.pipeline:
                self._reader[name] = job.pipeline
                self._queue.append(name)


def _reads(job: records.Job) -> list[str]:
    """Return the pipelines whose outputs a job has not got."""
    if job.state not in _KEPT_FROM_INPUT:
        return []
    return [each.repo for each in job.awaited]
