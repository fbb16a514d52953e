"""What is said of what is gone, records and all: events outlive a pipeline, its jobs and its workers."""

from collections.abc import Sequence

from trunkline.cli.core import standing
from trunkline.cli.core.explanations import Explanation, Reason, since
from trunkline.contracts import messages

DELETED = "pipeline-deleted"
_DELETING = "pipeline-deleting"


def deleted(events: Sequence[messages.Event]) -> messages.Event | None:
    """Return the event of a pipeline's last deletion, of events that are oldest first; None if there is none."""
    ends = [each for each in events if each.kind in (DELETED, _DELETING)]
    return ends[-1] if ends else None


def pipeline(name: str, events: Sequence[messages.Event], now_ns: int) -> Explanation | None:
    """Return what is said of a pipeline that has no record; None if nobody has heard of it."""
    end = deleted(events)
    if end is None:
        return None
    ago = since(end.at_ns, now_ns)
    return Explanation(
        what="pipeline",
        name=name,
        standing=f"pipeline {name} is gone",
        reasons=(_because(name, end, ago),),
        events=tuple(events),
    )


def job(
    name: str,
    identifier: str,
    events: Sequence[messages.Event],
    now_ns: int,
    index: int | None = None,
) -> Explanation | None:
    """Return what is said of a job that has no record, or of a datum of it; None if no event names it.

    Args:
        name: Of its pipeline.
        identifier: Its id, or the first digits; empty for the last one that events name.
        events: Of the pipeline, oldest first.
        now_ns: Wall clock.
        index: The datum's.
    """
    named = [each for each in events if each.job and each.job.startswith(identifier)]
    newest = named[-1].job if named else ""
    told = [each for each in named if each.job == newest and index in (None, each.index)]
    if not told:
        return None
    end = deleted([each for each in events if each.at_ns >= told[0].at_ns])
    if end is not None:
        reason = _because(name, end, since(end.at_ns, now_ns))
    else:
        why = "the job's record was deleted, or is not kept any more (`TRUNKLINE_KEEP_JOBS`)"
        reason = Reason(kind="deleted", why=why)
    short = standing.short_name(name, newest)
    return Explanation(
        what="job" if index is None else "datum",
        name=f"{name}@{newest}" if index is None else f"{name}@{newest} {index}",
        standing=f"job {short} is gone" if index is None else f"datum {index} of {short} is gone",
        reasons=(reason,),
        events=tuple(told),
    )


def worker(name: str, of: str, events: Sequence[messages.Event], now_ns: int) -> Explanation | None:
    """Return what is said of a worker whose pipeline has no record; None if that was not deleted."""
    end = deleted(events)
    if end is None:
        return None
    return Explanation(
        what="worker",
        name=name,
        standing=f"worker {name} of {of} is gone",
        reasons=(_because(of, end, since(end.at_ns, now_ns)),),
        events=tuple(events),
    )


def _because(name: str, end: messages.Event, ago: str) -> Reason:
    told = "was deleted" if end.kind == DELETED else "is being deleted, which began"
    return Reason(
        kind="deleted",
        why=f"pipeline {name} {told} {ago} ago, with the records of its jobs; what it has committed stays in repo {name}",
        remedy="`trunkline apply -f SPEC` makes it anew, and runs all of its datums again",
    )
