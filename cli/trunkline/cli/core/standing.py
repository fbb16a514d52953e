"""How a job stands, and by which name people mean it."""

from trunkline.cli.core.explanations import since
from trunkline.contracts import records
from trunkline.contracts.wording import counted


def name(job: records.Job) -> str:
    """Return the name by which people mean a job."""
    return f"{job.pipeline}@{job.id}"


def short(job: records.Job) -> str:
    """Return it with as many digits as are enough."""
    return short_name(job.pipeline, job.id)


def short_name(pipeline: str, identifier: str) -> str:
    """Return the same of a job that is known by its id only."""
    return f"{pipeline}@{identifier[:12]}"


def of(job: records.Job, now_ns: int) -> str:
    """Return how a job stands, in one sentence."""
    return f"job {short(job)} {how(job, now_ns)}"


def how(job: records.Job, now_ns: int) -> str:
    """Return the rest of a sentence that begins with a job."""
    text = f"is {job.state}"
    if job.state.ended:
        text += f" since {since(job.ended_ns, now_ns)}" if job.ended_ns else ""
    else:
        text += f" for {since(job.started_ns or job.created_ns, now_ns)}"
    return f"{text}: {done(job)}" if job.started_ns else text


def done(job: records.Job) -> str:
    """Return how much of a job that has begun is done."""
    counts = job.counts
    listed = job.listed_to if job.total is None else job.total
    total = f"{'at least ' if job.total is None else ''}{counted(listed, 'datum')}"
    failed = f", {counts.bad} {'has' if counts.bad == 1 else 'have'} failed" if counts.bad else ""
    return f"{counts.good} of {total} {'is' if listed == 1 else 'are'} done{failed}"
