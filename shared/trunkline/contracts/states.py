"""States of jobs, datums and pipelines, and the changes that are allowed.

The tables are data: the coordinator checks each change of a job against JOB_CHANGES, tests walk
them, and docs print them.

    WAITING ----> LISTING ----> RUNNING ----> MERGING ----> SUCCESS
       |             |             |             |--------> FAILURE
       |             +-------------+-------------+--------> KILLING ----> KILLED
       +--> UNRUNNABLE (an upstream job failed)  +-> KILLED (nothing had begun)

A job in WAITING waits for its inputs; in LISTING its datums are found and published, and may be
running already; in RUNNING all are published; in MERGING all have an outcome.
"""

import enum


class JobState(enum.StrEnum):
    """Where a job stands."""

    WAITING = "WAITING"
    LISTING = "LISTING"
    RUNNING = "RUNNING"
    MERGING = "MERGING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    KILLING = "KILLING"
    KILLED = "KILLED"
    UNRUNNABLE = "UNRUNNABLE"

    @property
    def ended(self) -> bool:
        """Whether the job will never change again."""
        return not JOB_CHANGES[self]

    @property
    def bad(self) -> bool:
        """Whether the job has ended, and its output will never come."""
        return self.ended and self is not JobState.SUCCESS


JOB_CHANGES: dict[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset({JobState.LISTING, JobState.UNRUNNABLE, JobState.KILLED}),
    JobState.LISTING: frozenset({JobState.RUNNING, JobState.FAILURE, JobState.KILLING}),
    JobState.RUNNING: frozenset({JobState.MERGING, JobState.FAILURE, JobState.KILLING}),
    JobState.MERGING: frozenset({JobState.SUCCESS, JobState.FAILURE, JobState.KILLING}),
    JobState.KILLING: frozenset({JobState.KILLED}),
    JobState.SUCCESS: frozenset(),
    JobState.FAILURE: frozenset(),
    JobState.KILLED: frozenset(),
    JobState.UNRUNNABLE: frozenset(),
}


class DatumState(enum.StrEnum):
    """How a datum ended. SKIPPED stands in the job record, never in an outcome message."""

    PROCESSED = "PROCESSED"
    SKIPPED = "SKIPPED"
    RECOVERED = "RECOVERED"
    FAILED = "FAILED"
    QUARANTINED = "QUARANTINED"

    @property
    def good(self) -> bool:
        """Whether a job with this datum may still succeed."""
        return self not in (DatumState.FAILED, DatumState.QUARANTINED)


class PipelineState(enum.StrEnum):
    """What a pipeline does.

    That a RUNNING one stands by, or that its workers do not come up, is told by the scaler's record.
    """

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    DELETING = "DELETING"
    REFUSED = "REFUSED"
    """The last published spec was refused; the errors stand beside it."""


class Cause(enum.StrEnum):
    """Why an attempt at a datum ended."""

    DONE = "done"
    USER_EXIT = "user-exit"
    USER_TIMEOUT = "user-timeout"
    OOM = "oom"
    WORKER_LOST = "worker-lost"
    NODE_LOST = "node-lost"
    DRAINED = "drained"
    EVICTED = "evicted"
    SERVER_RESTART = "server-restart"
    CONTAINER_LOST = "user-container-lost"
    STORE_ERROR = "store-error"
    """The object store was away or full: ours, not the datum's."""
    NO_RESOURCES = "no-resources"
    """The command could not be started for want of memory or processes: ours, not the datum's."""
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    """The datum was worked on twice at once, and the other one's outcome was first."""
