"""Why a datum waits, is tried again, or has failed."""

from collections.abc import Iterator

import msgspec

from trunkline.cli.core import jobs, standing, tries
from trunkline.cli.core.explanations import Explanation, Reason, since
from trunkline.contracts import api, messages
from trunkline.contracts.states import DatumState


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a datum, and of its job."""

    view: api.DatumView
    job: jobs.Facts
    events: tuple[messages.Event, ...] = ()


def explain(facts: Facts) -> Explanation:
    """Return why a datum is as it is."""
    view, job = facts.view, facts.job.job
    return Explanation(
        what="datum",
        name=f"{standing.name(job)} {view.index}",
        standing=_standing(facts),
        reasons=tuple(_reasons(facts)),
        events=facts.events,
    )


def _standing(facts: Facts) -> str:
    view, now_ns = facts.view, facts.job.now_ns
    text = f"datum {view.index} of {standing.short(facts.job.job)} is {view.state}"
    if view.generation > 1:
        text += f" (restarted, generation {view.generation})"
    if view.worker:
        text += f" on {view.worker}"
        text += f" for {since(view.since_ns, now_ns)}" if view.since_ns else ""
    if view.outcome is not None and view.outcome.ended_ns:
        text += f" since {since(view.outcome.ended_ns, now_ns)}"
    return text


def _reasons(facts: Facts) -> Iterator[Reason]:
    view, job = facts.view, facts.job.job
    match view.state:
        case DatumState.FAILED | DatumState.QUARANTINED:
            yield tries.failure(job, view)
        case DatumState.SKIPPED:
            yield Reason(
                kind="skipped",
                why="an earlier job has done just this: same files, same code",
                remedy=f"`trunkline rerun job --reprocess {standing.short(job)}` does it again",
            )
        case DatumState.PROCESSED | DatumState.RECOVERED:
            yield _well(view)
        case "CANCELLED":
            yield Reason(
                kind="cancelled",
                why=f"its job ended without it: {standing.of(job, facts.job.now_ns)}",
                remedy=f"`trunkline explain {standing.short(job)}`",
            )
        case _:
            yield from _open(facts)


def _well(view: api.DatumView) -> Reason:
    outcome = view.outcome
    if outcome is None:
        return Reason(kind="done", why="it is done")
    bad = [each for each in tries.attempts(view) if each.cause and str(each.cause) != "done"]
    told = f", after {len(bad)} that were not: {tries.told(bad)}" if bad else ""
    if view.state == DatumState.RECOVERED:
        return Reason(
            kind="recovered", why=f"its `err_cmd` made good what failed: {outcome.reason}"
        )
    return Reason(kind="done", why=f"an attempt on {outcome.worker} was good{told}")


def _open(facts: Facts) -> Iterator[Reason]:
    view, job = facts.view, facts.job.job
    again = tries.again(job, view)
    if again is not None:
        yield again
    if view.state == "RUNNING":
        yield Reason(
            kind="at-work",
            why=f"{view.worker} executes it",
            remedy=f"`trunkline logs {standing.short(job)} --datum {view.index}` shows what it prints",
        )
        return
    if view.state == "STARTING":
        yield Reason(
            kind="held",
            why=f"{view.worker} has it in hand, and fetches its files or has another one to end first",
        )
        return
    others = [each for each in jobs.reasons(facts.job) if each.kind not in ("tried-again", "done")]
    kinds = {each.kind for each in others}
    yield from (each for each in others if each.kind not in ("at-work", "queued"))
    if "queued" in kinds:
        yield Reason(kind="queued", why="it waits in the queue: who is free takes it at once")
    if "at-work" in kinds:
        yield Reason(
            kind="queued",
            why="it waits in the queue: all workers of its pipeline are at other datums",
            remedy="more workers take more at once: `parallelism_spec` in the spec",
        )
