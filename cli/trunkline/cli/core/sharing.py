"""Which jobs of a pipeline have its workers, and why another one has none.

What the records say: whose datum each worker runs (the scaler's record), which jobs are older (`order`), and what code
each has. A worker asks for datums of jobs of its own code, of the oldest ASKED_FOR of these, and begins what it has in
hand of the oldest job first. Which job's datum reaches a free worker first nobody decides: so a younger job may have
workers while an older one waits for some, and nothing is said here of who is next.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from trunkline.cli.core import standing
from trunkline.cli.core.explanations import Reason
from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.contracts.wording import counted
from trunkline.worker_agent.core import holding

ASKED_FOR = holding.JOBS_MAX

NAMED = 3
"""Jobs that are named, those that have the most workers."""

_AT_WORK = frozenset({JobState.LISTING, JobState.RUNNING})


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """The workers of a pipeline, as they look to one of its jobs."""

    job: records.Job
    scaling: records.Scaling
    others: Sequence[records.Job]
    """The pipeline's other jobs that have not ended, or are not put away."""

    @property
    def able(self) -> tuple[records.WorkerView, ...]:
        """The workers that have the job's code; all, where none has."""
        workers = self.scaling.workers
        code = ("", self.job.code_hash)
        return tuple(each for each in workers if each.code_hash in code) or workers

    @property
    def mine(self) -> list[records.WorkerView]:
        """Those that run a datum of the job."""
        return [each for each in self.scaling.workers if each.job == self.job.id]

    @property
    def ahead(self) -> int:
        """How many older jobs of the same code are at work."""
        code, order = self.job.code_hash, self.job.order
        return sum(
            each.order < order and each.code_hash == code and each.state in _AT_WORK
            for each in self.others
        )

    @property
    def waits(self) -> bool:
        """Whether others are in the way of the job, rather than that a worker is about to take it."""
        if self.mine:
            return False
        idle = any(each.phase == "idle" for each in self.able)
        busy = any(each.job for each in self.able)
        return self.ahead >= ASKED_FOR or (busy and not idle)


def behind(shared: Shared, now_ns: int) -> Reason:
    """Return behind what a job waits of which `waits` is true: the jobs that have the workers, and how many each."""
    at = Counter(each.job for each in shared.able if each.job)
    known = {each.id: each for each in shared.others}
    ranked = sorted(at, key=lambda each: (-at[each], _order(known.get(each))))
    why = _told(shared, ranked, at, known, now_ns) if ranked else "it waits behind older jobs"
    if shared.ahead >= ASKED_FOR:
        why += (
            f"; {shared.ahead} older jobs are at work, and workers ask for the datums of the"
            f" {ASKED_FOR} oldest"
        )
    elif ranked:
        too = shared.ahead - sum(
            each in known and known[each].order < shared.job.order for each in at
        )
        also = (
            f"; {counted(too, 'more older job')} {'waits' if too == 1 else 'wait'}, too"
            if too > 0
            else ""
        )
        why += f"{also}; a worker begins what it has in hand of an older job first"
    return Reason(kind="behind-job", why=why, remedy=_remedy(shared, ranked, known))


def _told(
    shared: Shared,
    ranked: Sequence[str],
    at: Counter[str],
    known: dict[str, records.Job],
    now_ns: int,
) -> str:
    total = at.total()
    many = "the only busy worker is" if total == 1 else f"all {total} busy workers are"
    if len(ranked) == 1:
        other = known.get(ranked[0])
        if other is None:
            return f"it waits behind {_short(shared, ranked[0])}, at which {many}"
        age = "an older" if other.order < shared.job.order else "a younger"
        return f"it waits behind {age} job, at which {many}: {standing.of(other, now_ns)}"
    told = [f"{at[each]} at {_named(shared, each, known)}" for each in ranked[:NAMED]]
    if rest := ranked[NAMED:]:
        told.append(f"{sum(at[each] for each in rest)} at {counted(len(rest), 'more job')}")
    return f"it waits behind {len(ranked)} other jobs, at which {many}: {', '.join(told)}"


def _named(shared: Shared, identifier: str, known: dict[str, records.Job]) -> str:
    other = known.get(identifier)
    text = _short(shared, identifier)
    if other is None:
        return text
    age = "older" if other.order < shared.job.order else "younger"
    return f"{text} ({age}, {standing.done(other)})"


def _short(shared: Shared, identifier: str) -> str:
    return standing.short_name(shared.job.pipeline, identifier)


def _order(job: records.Job | None) -> float:
    return float("inf") if job is None else job.order


def _remedy(shared: Shared, ranked: Sequence[str], known: dict[str, records.Job]) -> str:
    """Return what helps: more workers, where the spec allows no more, or one job less, an older one if there is one."""
    order = shared.job.order
    older = [each for each in ranked if each in known and known[each].order < order]
    stop = next(iter(older or ranked), "")
    remedies = []
    if shared.scaling.want >= shared.scaling.cap:
        remedies.append(f"raise `parallelism_spec` in the spec, which allows {shared.scaling.cap}")
    if stop:
        remedies.append(f"`trunkline stop job {_short(shared, stop)}`")
    return ", or ".join(remedies)
