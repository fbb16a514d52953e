"""What the leading coordinator counts, and what it shows of what it knows: see `runtime.metrics`.

Workers have no port of their own where there are many on one machine, and none that outlives them anywhere. So
what a datum took rides on its outcome, and is counted here, once, with the outcome that counts.

An outcome that was stored before this leader began is folded, and not counted: its predecessor has counted it,
or nobody has; counted again, each change of leaders would look like a burst of work. What is told by gauges is
read from the records, by whoever leads.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec

from trunkline.contracts import records
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import JOB_CHANGES, Cause, DatumState, JobState, PipelineState
from trunkline.coordinator.core.job import Fold
from trunkline.runtime import metric_names as names
from trunkline.runtime.clock import Clock
from trunkline.runtime.metrics import COORDINATOR, REST, Buckets, Meter, Pipelines, Sample

_OPEN = tuple(state for state in JobState if JOB_CHANGES[state])
_ENDS = tuple(state for state in JobState if not JOB_CHANGES[state])
_MOVES = (JobState.LISTING, JobState.RUNNING, JobState.MERGING, JobState.KILLING)


class Newest(msgspec.Struct, frozen=True):
    """A pipeline's newest job that has ended."""

    order: int
    quarantined: int
    skipped: float
    """Which part of its datums."""


class Tally:
    """What the outcomes of one pipeline, or of all those without a name of their own, add up to.

    Plain attributes: this is done for each datum.
    """

    __slots__ = (
        "causes",
        "cpu_s",
        "down",
        "dropped",
        "ignored",
        "phases",
        "redelivered",
        "states",
        "up",
    )

    def __init__(self) -> None:
        self.states = dict.fromkeys(DatumState, 0)
        self.causes: dict[Cause, int] = dict.fromkeys(Cause, 0)
        self.phases = tuple(Buckets(names.PHASE_SECONDS.buckets) for _ in range(4))
        self.cpu_s = 0.0
        self.down = self.up = self.redelivered = self.dropped = self.ignored = 0

    def take(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.states[outcome.state] += 1
        if outcome.history:
            for each in outcome.history:
                if each.cause is not None:
                    self.causes[each.cause] += 1
        elif outcome.state is DatumState.PROCESSED:
            self.causes[Cause.DONE] += 1
        figures = outcome.figures
        self.redelivered += figures.redelivered
        self.dropped += figures.unkept_lines
        if figures.process_s or outcome.state is DatumState.PROCESSED:
            wait, download, process, upload = self.phases
            wait.observe(figures.wait_s)
            download.observe(figures.download_s)
            process.observe(figures.process_s)
            upload.observe(figures.upload_s)
            self.down += figures.download_bytes
            self.up += figures.upload_bytes
            self.cpu_s += figures.cpu_s

    def samples(self, pipeline: str) -> Iterator[Sample]:
        """Yield all of it under this value of the label."""
        for state, count in self.states.items():
            yield names.DATUMS, (pipeline, state.lower()), count
        for cause, count in self.causes.items():
            yield names.ATTEMPTS, (pipeline, cause.value), count
        for phase, buckets in zip(
            ("wait", "download", "process", "upload"), self.phases, strict=True
        ):
            yield names.PHASE_SECONDS, (pipeline, phase), buckets
        yield names.TRANSFERRED, (pipeline, "down"), self.down
        yield names.TRANSFERRED, (pipeline, "up"), self.up
        yield names.CPU_SECONDS, (pipeline,), self.cpu_s
        yield names.REDELIVERIES, (pipeline,), self.redelivered
        yield names.LOG_LINES_DROPPED, (pipeline,), self.dropped
        yield names.OUTCOMES_IGNORED, (pipeline,), self.ignored


class Counting:
    """See the module. `samples` is its source.

    Args:
        clock: For how long nothing has moved.
        known: Whether there is such a pipeline: the last outcomes of a deleted one come after it has gone.
    """

    def __init__(self, clock: Clock, known: Callable[[str], bool] = lambda _: True) -> None:
        self.meter = Meter()
        self.meter.add(names.RECONCILE_FAILURES, COORDINATOR, by=0)
        self.pipelines = Pipelines(known)
        self._clock = clock
        self._tallies: dict[str, Tally] = {}
        """By the value of the label."""
        self._of: dict[str, Tally] = {}
        """By pipeline, of those with a name of their own; others may get one as soon as a place is free."""
        self._moved: dict[str, dict[str, float]] = {}
        """Pipeline -> job -> when something has moved in it last; of jobs in `_MOVES`."""
        self._newest: dict[str, Newest] = {}

    # --- what happens -----------------------------------------------------------------------------

    def outcome(self, outcome: Outcome) -> None:
        """Count an outcome that counts."""
        tally = self._of.get(outcome.pipeline)
        (tally or self._tally(outcome.pipeline)).take(outcome)

    def ignored(self, pipeline: str) -> None:
        """Count one that does not."""
        self._tally(pipeline).ignored += 1

    def moved(self, pipeline: str, job: str, at_ns: int) -> None:
        """Take it that something has happened in a job at this time, which may be before this leader began."""
        jobs = self._moved.get(pipeline)
        if jobs is not None and job in jobs:
            jobs[job] = max(jobs[job], self._since_s(at_ns))

    def job_changed(
        self, old: records.Job | None, new: records.Job | None, stored_ns: int = 0
    ) -> None:
        """Take a change of a job's record into account, whoever made it; told of at the start, nothing is counted.

        Args:
            old: What it was; None where it is new, or this leader is.
            new: What it is.
            stored_ns: When that was stored, if others did it: for a leader that begins, when the job moved last.
        """
        job = new or old
        assert job is not None
        if new is None:
            self._moved.get(job.pipeline, {}).pop(job.id, None)
            return
        if not new.state.ended and self.pipelines.name(new.pipeline) != REST:
            # counters are shown at 0 before there is anything to count: of one that begins at 1 Prometheus sees no rise
            self._tally(new.pipeline)
        moving = self._moved.setdefault(job.pipeline, {})
        if new.state in _MOVES:
            # a leader that begins moves nothing: where leaders change often, a job would never be quiet for long
            moved_ns = max(new.started_ns or new.created_ns, stored_ns)
            known = self._since_s(moved_ns) if old is None else self._clock.monotonic_s()
            moving[new.id] = max(known, moving.get(new.id, known))
        else:
            moving.pop(job.id, None)
        if new.state.ended:
            self._note_newest(new)
        if old is not None:
            self._count_change(old, new)

    def pipeline_gone(self, pipeline: str) -> None:
        """Forget a pipeline that is deleted: its series end, and its place is free."""
        self.pipelines.forget(pipeline)
        self.meter.forget(pipeline)
        self._tallies.pop(pipeline, None)
        self._of.pop(pipeline, None)
        self._moved.pop(pipeline, None)
        self._newest.pop(pipeline, None)

    def round(self, took_s: float) -> None:
        """Count a round."""
        self.meter.buckets(names.RECONCILE_SECONDS, COORDINATOR).observe(took_s)

    def round_failed(self) -> None:
        """Count one that must be repeated."""
        self.meter.add(names.RECONCILE_FAILURES, COORDINATOR)

    # --- what is shown ----------------------------------------------------------------------------

    def counted(self) -> Iterator[Sample]:
        """Yield what was counted, and what is remembered of jobs."""
        yield from self.meter()
        for name, tally in self._tallies.items():
            yield from tally.samples(name)
        now_s = self._clock.monotonic_s()
        for pipeline, jobs in self._moved.items():
            quiet_s = max((now_s - moved_s for moved_s in jobs.values()), default=0.0)
            yield names.JOB_QUIET, (self.pipelines.name(pipeline),), quiet_s
        for pipeline, newest in self._newest.items():
            label = (self.pipelines.name(pipeline),)
            yield names.QUARANTINED, label, newest.quarantined
            yield names.SKIP_RATIO, label, newest.skipped

    def of_jobs(self, jobs: Iterable[records.Job]) -> Iterator[Sample]:
        """Yield what the jobs are that have not ended."""
        for job in jobs:
            if not job.state.ended:
                yield names.JOBS_LIVE, (self.pipelines.name(job.pipeline), job.state.value), 1
        for name in self._tallies:
            for state in _OPEN:
                yield names.JOBS_LIVE, (name, state.value), 0

    def of_folds(self, folds: Iterable[tuple[str, Fold]]) -> Iterator[Sample]:
        """Yield what is known of the datums of jobs that run."""
        for name in self._tallies:
            yield names.REMAINING, (name,), 0
            yield names.QUARANTINED, (name,), 0
        for pipeline, fold in folds:
            label = (self.pipelines.name(pipeline),)
            yield names.REMAINING, label, max(0, fold.ahead)
            yield names.QUARANTINED, label, fold.counts.quarantined

    # --- inside -----------------------------------------------------------------------------------

    def _since_s(self, at_ns: int) -> float:
        """Return when that was by our own clock; no later than now, whatever another's clock says."""
        return self._clock.monotonic_s() - max(0, self._clock.wall_ns() - at_ns) / 1e9

    def _tally(self, pipeline: str) -> Tally:
        name = self.pipelines.name(pipeline)
        found = self._tallies.get(name)
        if found is None:
            found = self._tallies[name] = Tally()
            for state in _ENDS:
                self.meter.add(names.JOBS_ENDED, name, state.value, by=0)
            self.meter.add(names.REPAIRS, name, by=0)
            # as with counters, what begins with its first value shows no rise; other ends are rare, and 22 series each
            self.meter.buckets(names.JOB_SECONDS, name, JobState.SUCCESS.value)
        if name != REST:
            self._of[pipeline] = found
        return found

    def _note_newest(self, job: records.Job) -> None:
        known = self._newest.get(job.pipeline)
        if known is None or job.order >= known.order:
            counts = job.counts
            skipped = sum(each.count for each in job.skipped) / job.total if job.total else 0.0
            self._newest[job.pipeline] = Newest(job.order, counts.quarantined, skipped)

    def _count_change(self, old: records.Job, new: records.Job) -> None:
        tally, name = self._tally(new.pipeline), self.pipelines.name(new.pipeline)
        for each in new.skipped[len(old.skipped) :]:
            tally.states[DatumState.SKIPPED] += each.count
        if new.round > old.round:
            self.meter.add(names.REPAIRS, name, by=new.round - old.round)
        if new.state.ended and not old.state.ended:
            self.meter.add(names.JOBS_ENDED, name, new.state.value)
            if new.started_ns:
                seconds = max(0.0, (new.ended_ns - new.started_ns) / 1e9)
                self.meter.buckets(names.JOB_SECONDS, name, new.state.value).observe(seconds)


def of_pipelines(pipelines: Iterable[records.Pipeline]) -> Iterator[Sample]:
    """Yield how many pipelines are in which state."""
    counts = Counter(each.state for each in pipelines)
    for state in PipelineState:
        yield names.PIPELINES, (state.value,), counts[state]
