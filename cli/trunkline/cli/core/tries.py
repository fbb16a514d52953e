"""Why a datum failed, or is tried again: its attempts and their causes, with a remedy for each cause."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from trunkline.cli.core import standing
from trunkline.cli.core.explanations import Reason, last_line, named
from trunkline.contracts import api, records, spec
from trunkline.contracts.attempts import CHARGED, FREE_BOUND, Attempt, Ledger
from trunkline.contracts.states import Cause, DatumState
from trunkline.contracts.wording import counted


def attempts(view: api.DatumView) -> tuple[Attempt, ...]:
    """Return what is recorded of a datum's attempts, oldest first: one that was restarted begins anew."""
    if view.outcome is not None and view.outcome.history:
        return view.outcome.history
    try:
        ledger = msgspec.json.decode(view.attempts, type=Ledger | None)
    except msgspec.DecodeError:
        return ()
    return ledger.attempts if ledger and ledger.generation == view.generation else ()


def known(view: api.DatumView) -> int:
    """Return how many attempts a datum has had by its records; of one that is at its first, or has none, nothing tells."""
    return view.outcome.attempts if view.outcome is not None else len(attempts(view))


def cause(view: api.DatumView) -> Cause:
    """Return what a datum that has ended badly ended of: the cause of its last attempt that counts."""
    made = [each for each in attempts(view) if each.cause not in (None, Cause.DONE)]
    counts = [each for each in made if each.cause in CHARGED] or made
    if counts and counts[-1].cause is not None:
        return counts[-1].cause
    text = view.outcome.reason if view.outcome else ""
    if text.startswith("out of memory"):  # further on it may hold what a command says of itself
        return Cause.OOM
    return Cause.USER_TIMEOUT if text.startswith("timed out") else Cause.USER_EXIT


def failure(job: records.Job, view: api.DatumView) -> Reason:
    """Return why a datum has failed or is quarantined, and what to do about it."""
    ended_of = cause(view)
    quarantined = view.state == DatumState.QUARANTINED
    kind = "quarantined" if quarantined else str(ended_of)
    why = f"datum {view.index} is {view.state}: {_what(job, view, ended_of)}"
    return Reason(kind=kind, why=why, remedy=_remedy(job, view, ended_of))


def again(job: records.Job, view: api.DatumView) -> Reason | None:
    """Return why a datum without an outcome is tried once more; None if it never was tried."""
    made = [each for each in attempts(view) if not each.copy and each.cause is not None]
    if not made:
        return None
    charged = sum(each.cause in CHARGED for each in made)
    free = f"; {len(made) - charged} of {FREE_BOUND} that are free" if charged < len(made) else ""
    tries = job.spec.datum_tries
    used = f"{charged} of {tries} {'try is' if tries == 1 else 'tries are'} used up"
    said = last_line(made[-1].detail)
    detail = f"; the last said {said}" if said else ""
    return Reason(
        kind="tried-again",
        why=f"it was tried before: {told(made)}{detail}; {used}{free}",
        remedy=f"`trunkline logs {standing.short(job)} --datum {view.index}` shows what it printed",
    )


def told(made: Sequence[Attempt]) -> str:
    """Return the causes of attempts, the most frequent first."""
    count = Counter(str(each.cause) for each in made)
    return ", ".join(f"{many} x {each}" for each, many in count.most_common())


def _what(job: records.Job, view: api.DatumView, ended_of: Cause) -> str:
    made = [each for each in attempts(view) if each.cause is ended_of]
    times = f" {len(made)} times" if len(made) > 1 else ""
    where = named(dict.fromkeys(each.worker for each in made if each.worker))
    on = f", on {where}" if where else ""
    outcome = view.outcome
    last = f" ({outcome.reason})" if outcome and outcome.reason else ""  # it names the input
    match ended_of:
        case Cause.OOM:
            limit = _memory(job.spec)
            peak = outcome.figures.peak_rss_bytes if outcome else 0
            most = f"; its largest process had {peak >> 20} MiB" if peak >> 20 else ""
            return f"it was killed for want of memory{times}{on}; {limit}{most}{last}"
        case Cause.WORKER_LOST:
            return f"its worker was lost{times} while it executed{on}: it probably takes workers along{last}"
        case Cause.USER_TIMEOUT:
            limit_s = job.spec.datum_timeout_s
            limit = f" of {limit_s:g} s" if limit_s else ""
            return f"it ran into its time limit{limit}{times}{on}{last}"
        case Cause.USER_EXIT:
            return f"{outcome.reason if outcome else 'its command failed'}{_tail(view)}"
        case _:
            return outcome.reason if outcome and outcome.reason else str(ended_of)


def _memory(asked: spec.PipelineSpec) -> str:
    limits = asked.resource_limits
    if limits is None or limits.memory_bytes is None:
        return "the spec sets no limit: its node was full, or what the cluster allows by default was used up"
    return f"its limit is {limits.memory_bytes >> 20} MiB"


def _tail(view: api.DatumView) -> str:
    said = last_line(view.outcome.log_tail) if view.outcome else ""
    return f"; it printed last: {said}" if said else ""


def _remedy(job: records.Job, view: api.DatumView, ended_of: Cause) -> str:
    name = standing.short(job)
    if job.state.ended:
        then = f"then `trunkline rerun job {name}`, which skips what is done"
    else:
        then = f"then `trunkline restart datum {name} {view.index}`"
    look = f"look at `trunkline logs {name} --datum {view.index}`"
    match ended_of:
        case Cause.OOM:
            return f"raise `resource_limits.memory` in the spec (or split the datum by a finer glob), {then}"
        case Cause.WORKER_LOST:
            return f"{look} for its last words, mend the command or give it more memory, {then}"
        case Cause.USER_TIMEOUT:
            return f"raise `datum_timeout` in the spec, or make the datum smaller, {then}"
        case Cause.STORE_ERROR:
            return f"see whether the store answers (`trunkline status`), {then}"
        case _:
            return f"{look}, mend the command or the input, {then}"


def failures(job: records.Job, bad: Sequence[api.DatumView]) -> list[Reason]:
    """Return why a job's datums failed: a reason per cause, that of the most datums first.

    Args:
        job: The job.
        bad: Those of its datums that are known to have ended badly, maybe not all.
    """
    groups: dict[tuple[str, Cause], list[api.DatumView]] = {}
    for view in bad:
        groups.setdefault((view.state, cause(view)), []).append(view)
    found = []
    for alike in sorted(groups.values(), key=lambda each: -len(each)):
        reason = failure(job, alike[0])
        others = f" ({counted(len(alike) - 1, 'other')} like it)" if len(alike) > 1 else ""
        found.append(msgspec.structs.replace(reason, why=reason.why + others))
    return found
