"""Why a job waits, or why it has come to nothing.

WAITING      its pipeline is stopped; an upstream job is not done; an earlier job is not put away
LISTING,     workers are missing; they are all at an earlier job; otherwise it is at work, and what
RUNNING      holds it up is said: datums that are tried again, the one that takes longest
MERGING      an earlier job of the pipeline has not ended: they commit in order
UNRUNNABLE   the upstream job that failed first, and why that did
FAILURE      its bad datums by cause, or what is wrong with its output
KILLED       who or what had it killed
"""

from collections.abc import Iterator, Sequence

import msgspec

from trunkline.cli.core import missing_workers, tries
from trunkline.cli.core.explanations import Explanation, Reason, counted, named, since, span
from trunkline.contracts import api, messages, records
from trunkline.contracts.states import JobState, PipelineState

_AT_WORK = frozenset({JobState.LISTING, JobState.RUNNING})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job."""

    job: records.Job
    now_ns: int
    pipeline: records.Pipeline | None = None
    scaling: records.Scaling | None = None
    earlier: tuple[records.Job, ...] = ()
    """Jobs of the pipeline that are older and have not ended, or are not put away, oldest first."""
    upstream: "tuple[Facts, ...]" = ()
    """The jobs whose output it reads that are not done or have ended badly; only one, and it first, of
    those on the way to what failed first."""
    bad: tuple[api.DatumView, ...] = ()
    """Some datums that have ended badly."""
    open: tuple[api.DatumView, ...] = ()
    """Some that have no outcome, those first that a worker has."""
    events: tuple[messages.Event, ...] = ()


def explain(facts: Facts) -> Explanation:
    """Return why a job is as it is."""
    return Explanation(
        what="job",
        name=name(facts.job),
        standing=standing(facts.job, facts.now_ns),
        reasons=tuple(reasons(facts)),
        events=facts.events,
    )


def name(job: records.Job) -> str:
    """Return the name by which people mean a job."""
    return f"{job.pipeline}@{job.id}"


def short(job: records.Job) -> str:
    """Return it with as many digits as are enough."""
    return f"{job.pipeline}@{job.id[:12]}"


def standing(job: records.Job, now_ns: int) -> str:
    """Return how a job stands, in one sentence."""
    text = f"job {short(job)} is {job.state}"
    if job.state.ended:
        text += f" since {since(job.ended_ns, now_ns)}" if job.ended_ns else ""
        return f"{text}{_done(job)}"
    began = job.started_ns or job.created_ns
    return f"{text} for {since(began, now_ns)}{_done(job)}"


def _done(job: records.Job) -> str:
    counts = job.counts
    good = counts.processed + counts.skipped + counts.recovered
    bad = counts.failed + counts.quarantined
    if not job.started_ns:
        return ""
    total = f"at least {job.listed_to}" if job.total is None else f"{job.total}"
    failed = f", {bad} {'has' if bad == 1 else 'have'} failed" if bad else ""
    return f": {good} of {total} datums are done{failed}"


def reasons(facts: Facts) -> Iterator[Reason]:
    """Yield why, the most likely cause first."""
    job = facts.job
    match job.state:
        case JobState.WAITING:
            yield from _waiting(facts)
        case JobState.LISTING | JobState.RUNNING:
            yield from _at_work(facts)
        case JobState.MERGING:
            yield from _merging(facts)
        case JobState.UNRUNNABLE:
            yield from _unrunnable(facts)
        case JobState.FAILURE:
            yield from _failed(facts)
        case JobState.KILLED | JobState.KILLING:
            yield _killed(job)
        case _:
            yield Reason(kind="done", why=f"all went well; its output is {job.pipeline}@{job.id}")


def _waiting(facts: Facts) -> Iterator[Reason]:
    pipeline = facts.pipeline
    if pipeline is not None and pipeline.state is not PipelineState.RUNNING:
        yield from missing_workers.reasons(pipeline, facts.scaling)
    for above in facts.upstream:
        why = f"it waits for its input from {standing(above.job, facts.now_ns)}"
        first = next(reasons(above), None)
        if first is not None and first.kind not in ("at-work", "queued"):
            why += f"; that is so because {first.why}"
        told = first.remedy if first and first.remedy else ""
        remedy = told or f"`trunkline explain {short(above.job)}`"
        yield Reason(kind="upstream-waits", why=why, remedy=remedy)
    unsettled = [each for each in facts.earlier if each.state.ended]
    if unsettled and not facts.upstream:
        why = f"the outcomes of {short(unsettled[0])}, which has ended, are being put away first"
        yield Reason(kind="behind-job", why=why, remedy="this takes some seconds")
    elif not facts.upstream:
        yield Reason(
            kind="not-begun",
            why="its inputs are there, and the coordinator has not begun it yet",
            remedy="if that stays so, `trunkline status` says whether a coordinator leads",
        )


def _at_work(facts: Facts) -> Iterator[Reason]:
    found = list(_holding_up(facts))
    mine, _ = _busy(facts)
    if mine:
        found.append(_working(facts, mine))
    if not found:
        found.append(
            Reason(
                kind="queued",
                why="none of its datums is in hand just now: who is free takes the next at once",
                remedy=f"if that stays so, see what workers do: `trunkline list workers {facts.job.pipeline}`",
            )
        )
    yield from found


def _holding_up(facts: Facts) -> Iterator[Reason]:
    """Yield what keeps a job from going on, the most likely cause first."""
    job = facts.job
    yield from missing_workers.reasons(facts.pipeline, facts.scaling, job.code_hash)
    mine, others = _busy(facts)
    if others and not mine:
        yield _behind(facts, others)
    for view in facts.open:
        reason = tries.again(job, view)
        if reason is not None:
            yield msgspec.structs.replace(reason, why=f"datum {view.index}: {reason.why}")
            break
    yield from tries.failures(job, facts.bad)


def _busy(facts: Facts) -> tuple[list[records.WorkerView], list[records.WorkerView]]:
    """Return the workers that execute datums of the job, and those at other jobs."""
    workers = facts.scaling.workers if facts.scaling else ()
    busy = [each for each in workers if each.job]
    mine = [each for each in busy if each.job == facts.job.id]
    return mine, [each for each in busy if each.job != facts.job.id]


def _behind(facts: Facts, busy: Sequence[records.WorkerView]) -> Reason:
    at = dict.fromkeys(each.job for each in busy)
    known = {each.id: each for each in facts.earlier}
    first = next((known[each] for each in at if each in known), None)
    many = "the only worker is" if len(busy) == 1 else f"all {len(busy)} workers are"
    if first is None:
        told = f"{facts.job.pipeline}@{next(iter(at))[:12]}"
        why = f"it waits behind another job: {many} at {told}"
    else:
        told = short(first)
        why = f"it waits behind an older job, at which {many}: {standing(first, facts.now_ns)}"
    return Reason(
        kind="behind-job",
        why=f"{why}; workers take datums of older jobs rather than of younger ones",
        remedy=f"raise `parallelism_spec` in the spec, or `trunkline stop job {told}`",
    )


def _working(facts: Facts, mine: Sequence[records.WorkerView]) -> Reason:
    slowest = min(mine, key=lambda each: each.since_ns or facts.now_ns)
    for_s = (facts.now_ns - slowest.since_ns) / 1e9 if slowest.since_ns else 0.0
    verb = "is" if len(mine) == 1 else "are"
    why = (
        f"{counted(len(mine), 'worker')} {verb} at work on it; longest at datum {slowest.index},"
        f" for {span(for_s)}, on {slowest.name}"
    )
    return Reason(kind="at-work", why=why)


def _merging(facts: Facts) -> Iterator[Reason]:
    running = [each for each in facts.earlier if not each.state.ended]
    if not running:
        yield Reason(kind="merging", why="its datums are done; their outputs are being merged")
        return
    first = running[0]
    yield Reason(
        kind="behind-job",
        why=(
            f"its datums are done; it waits behind an older one: {standing(first, facts.now_ns)};"
            " jobs of a pipeline commit in the order in which they came"
        ),
        remedy=f"`trunkline explain {short(first)}`, or `trunkline stop job {short(first)}`",
    )


def _unrunnable(facts: Facts) -> Iterator[Reason]:
    if not facts.upstream:
        yield Reason(kind="upstream-failed", why=facts.job.reason, remedy="")
        return
    above = facts.upstream[0]
    way = [above.job]
    while above.job.state is JobState.UNRUNNABLE and above.upstream:
        above = above.upstream[0]
        way.append(above.job)
    through = f", by way of {named(short(each) for each in way[:-1])}" if len(way) > 1 else ""
    first = next(reasons(above), Reason(kind="failed", why=above.job.reason))
    remedy = first.remedy or f"`trunkline explain {short(above.job)}`"
    yield Reason(
        kind="upstream-failed",
        why=f"its input will never come{through}: {short(above.job)} is {above.job.state}: {first.why}",
        remedy=remedy,
    )


def _failed(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    found = tries.failures(job, facts.bad)
    yield from found
    if not found:
        yield Reason(
            kind="failed",
            why=job.reason or "it has failed",
            remedy=f"mend that, then `trunkline rerun job {short(job)}`, which skips what is done",
        )


def _killed(job: records.Job) -> Reason:
    why = f"it was killed: {job.reason or 'nobody said why'}"
    if "job_timeout" in job.reason:
        return Reason(
            kind="job-timeout",
            why=why,
            remedy=f"raise `job_timeout` in the spec, then `trunkline rerun job {short(job)}`",
        )
    return Reason(
        kind="killed",
        why=why,
        remedy=f"`trunkline rerun job {short(job)}` runs what it had not done",
    )
