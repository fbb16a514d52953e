"""Why a job waits, or why it has come to nothing.

WAITING      its pipeline is stopped; an upstream job is not done; an earlier job is not put away
LISTING,     workers are missing; they are all at other jobs; otherwise it is at work, and what
RUNNING      holds it up is said: datums that are tried again, the one that takes longest
MERGING      an earlier job of the pipeline has not ended: they commit in order
UNRUNNABLE   the upstream job that failed first, and why that did
FAILURE      its bad datums by cause, or what is wrong with its output
KILLED       who or what had it killed
SUCCESS      without any datum, why its inputs have none
"""

from collections.abc import Iterator, Sequence

import msgspec

from trunkline.cli.core import missing_workers, sharing, standing, tries, upstream
from trunkline.cli.core.explanations import Explanation, Reason, named, span
from trunkline.contracts import api, messages, records
from trunkline.contracts.states import JobState, PipelineState
from trunkline.contracts.wording import counted

_AT_WORK = frozenset({JobState.LISTING, JobState.RUNNING})


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job."""

    job: records.Job
    now_ns: int
    pipeline: records.Pipeline | None = None
    scaling: records.Scaling | None = None
    others: tuple[records.Job, ...] = ()
    """The pipeline's other jobs that have not ended, or are not put away."""
    upstream: "tuple[Facts, ...]" = ()
    """The jobs above that keep it from its input, and wait for none themselves (`core.upstream`): what failed
    first comes first."""
    further: tuple[records.Job, ...] = ()
    """Others like these, of which no more is known."""
    cut: bool = False
    """Whether there are jobs above that were not looked at."""
    way: tuple[records.Job, ...] = ()
    """Of one of the upstream: the jobs between it and the one that is explained, nearest to that first."""
    bad: tuple[api.DatumView, ...] = ()
    """Some datums that have ended badly."""
    open: tuple[api.DatumView, ...] = ()
    """Some that have no outcome, those first that a worker has."""
    events: tuple[messages.Event, ...] = ()

    @property
    def earlier(self) -> list[records.Job]:
        """Those of the others that are older: what has not ended comes first, and of that the oldest."""
        older = [each for each in self.others if each.order < self.job.order]
        return sorted(older, key=lambda each: (each.state.ended, each.order))


def explain(facts: Facts) -> Explanation:
    """Return why a job is as it is."""
    return Explanation(
        what="job",
        name=standing.name(facts.job),
        standing=standing.of(facts.job, facts.now_ns),
        reasons=tuple(reasons(facts)),
        events=facts.events,
    )


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
            yield _done(job)


def _waiting(facts: Facts) -> Iterator[Reason]:
    pipeline = facts.pipeline
    if pipeline is not None and pipeline.state is not PipelineState.RUNNING:
        yield from missing_workers.reasons(pipeline, facts.scaling)
    for above in facts.upstream:
        why = (
            f"it waits for its input{_through(above)} from {standing.short(above.job)},"
            f" which {standing.how(above.job, facts.now_ns)}"
        )
        first = next(reasons(above), None)
        if first is not None and first.kind not in ("at-work", "queued"):
            why += f"; that is so because {first.why}"
        told = first.remedy if first and first.remedy else ""
        remedy = told or f"`trunkline explain {standing.short(above.job)}`"
        yield Reason(kind="upstream-waits", why=why, remedy=remedy)
    yield from _others_above(facts, "upstream-waits", "it waits for")
    unsettled = [each for each in facts.earlier if each.state.ended]
    if unsettled and not facts.upstream:
        why = f"the outcomes of {standing.short(unsettled[0])}, which has ended, are being put away first"
        yield Reason(kind="behind-job", why=why, remedy="this takes some seconds")
    elif not facts.upstream:
        yield Reason(
            kind="not-begun",
            why="its inputs are there, and the coordinator has not begun it yet",
            remedy="if that stays so, `trunkline status` says whether a coordinator leads",
        )


def _at_work(facts: Facts) -> Iterator[Reason]:
    found = list(_holding_up(facts))
    shared = _shared(facts)
    if shared is not None and shared.mine:
        found.append(_working(facts, shared.mine))
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
    shared = _shared(facts)
    if shared is not None and shared.waits:
        yield sharing.behind(shared, facts.now_ns)
    for view in facts.open:
        reason = tries.again(job, view)
        if reason is not None:
            yield msgspec.structs.replace(reason, why=f"datum {view.index}: {reason.why}")
            break
    yield from tries.failures(job, facts.bad)


def _shared(facts: Facts) -> sharing.Shared | None:
    if facts.scaling is None:
        return None
    return sharing.Shared(job=facts.job, scaling=facts.scaling, others=facts.others)


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
            f"its datums are done; it waits behind an older one: {standing.of(first, facts.now_ns)};"
            " jobs of a pipeline commit in the order in which they came"
        ),
        remedy=f"`trunkline explain {standing.short(first)}`, or `trunkline stop job {standing.short(first)}`",
    )


def _unrunnable(facts: Facts) -> Iterator[Reason]:
    if not facts.upstream:
        yield Reason(kind="upstream-failed", why=facts.job.reason, remedy="")
        return
    above = facts.upstream[0]
    first = next(reasons(above), Reason(kind="failed", why=above.job.reason))
    remedy = first.remedy or f"`trunkline explain {standing.short(above.job)}`"
    yield Reason(
        kind="upstream-failed",
        why=(
            f"its input will never come{_through(above).rstrip(',')}: {standing.short(above.job)}"
            f" is {above.job.state}: {first.why}"
        ),
        remedy=remedy,
    )
    yield from _others_above(facts, "upstream-failed", "there is no input either from")


def _through(above: Facts) -> str:
    """Return by way of which jobs one further up keeps the explained one waiting."""
    return f", by way of {named(map(standing.short, above.way), most=2)}," if above.way else ""


def _others_above(facts: Facts, kind: str, what: str) -> Iterator[Reason]:
    """Yield what is said of the jobs above that were not looked at closely, or not at all."""
    if facts.further:
        shown = named(f"{standing.short(each)} ({each.state})" for each in facts.further)
        yield Reason(kind=kind, why=f"{what} {shown}")
    if facts.cut:
        yield Reason(
            kind="not-looked-at",
            why=f"only the nearest {upstream.ASKED} jobs above were looked at, of more",
            remedy="`trunkline explain` of one of these looks further up",
        )


def _failed(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    found = tries.failures(job, facts.bad)
    yield from found
    if not found:
        yield Reason(
            kind="failed",
            why=job.reason or "it has failed",
            remedy=f"mend that, then `trunkline rerun job {standing.short(job)}`, which skips what is done",
        )


def _done(job: records.Job) -> Reason:
    if job.total != 0:
        return Reason(kind="done", why=f"all went well; its output is {job.pipeline}@{job.id}")
    made = [each for each in job.inputs if each.upstream]
    shown = [f"`trunkline ls {each.repo}@{each.branch}:/**`" for each in job.inputs]
    above = [f"`trunkline explain {standing.short_name(each.repo, job.id)}`" for each in made]
    return Reason(
        kind="no-datums",
        why=f"it had nothing to do, and its output is empty; {job.reason or 'no datums'}",
        remedy=f"compare the glob with {named(shown)}" + (f"; see {named(above)}" if above else ""),
    )


def _killed(job: records.Job) -> Reason:
    why = f"it was killed: {job.reason or 'nobody said why'}"
    if "job_timeout" in job.reason:
        return Reason(
            kind="job-timeout",
            why=why,
            remedy=f"raise `job_timeout` in the spec, then `trunkline rerun job {standing.short(job)}`",
        )
    return Reason(
        kind="killed",
        why=why,
        remedy=f"`trunkline rerun job {standing.short(job)}` runs what it had not done",
    )
