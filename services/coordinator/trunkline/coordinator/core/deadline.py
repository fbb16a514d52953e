"""When a job has had its time: `job_timeout`, counted from the moment at which its listing began.

It follows from the job's record and the wall clock each time it is asked for. So it is the same for
each coordinator that looks after the job, and one that was away past it ends the job when it is back.
"""

from trunkline.contracts import records


def left_s(job: records.Job, now_ns: int) -> float | None:
    """Return the seconds that a job still has; None if it may take for ever, or has not begun."""
    limit_s = job.spec.job_timeout_s
    if limit_s is None or not job.started_ns:
        return None
    return limit_s - (now_ns - job.started_ns) / 1e9


def reason(job: records.Job) -> str:
    """Return why a job is killed whose time is over."""
    return f"its job_timeout of {job.spec.job_timeout_s:g} s is over"
