"""Why a worker starts, idles, goes or is gone: its place in the scaling record, and the events that name it."""

from collections.abc import Iterator, Sequence

import msgspec

from trunkline.cli.core import explanations, missing_workers
from trunkline.cli.core.explanations import Explanation, Reason, since
from trunkline.contracts import messages, records
from trunkline.contracts.wording import counted

NAMED_CHARS = 30
"""Of a pipeline's name that stand in those of its workers."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a worker."""

    name: str
    pipeline: records.Pipeline
    now_ns: int
    scaling: records.Scaling | None = None
    events: tuple[messages.Event, ...] = ()
    """Those that name it, oldest first. A name is used again: the last ones count."""

    @property
    def view(self) -> records.WorkerView | None:
        """The worker, if it is there."""
        found = self.scaling.workers if self.scaling else ()
        return next((each for each in found if each.name == self.name), None)

    @property
    def may_idle(self) -> bool:
        """Whether it may be one of those that no record has room for: idle ones, which nothing has ended since."""
        told = [each for each in self.events if each.kind in ("scaled", "reaped")]
        made = bool(told) and told[-1].kind == "scaled" and _names(told[-1], "create", self.name)
        return bool(made and self.scaling is not None and self.scaling.more_workers)


def explain(facts: Facts) -> Explanation:
    """Return why a worker is as it is."""
    return Explanation(
        what="worker",
        name=facts.name,
        standing=_standing(facts),
        reasons=tuple(_reasons(facts)),
        events=facts.events,
    )


def _standing(facts: Facts) -> str:
    view = facts.view
    if view is None:
        state = "not listed" if facts.may_idle else "gone"
        return f"worker {facts.name} of {facts.pipeline.name} is {state}"
    text = f"worker {view.name} of {facts.pipeline.name} is {view.phase}"
    if view.created_ns:
        text += f", made {since(view.created_ns, facts.now_ns)} ago"
    return text


def _reasons(facts: Facts) -> Iterator[Reason]:
    view = facts.view
    if view is None and facts.may_idle:
        why = "its pipeline has more workers than a record has room for, which leaves out idle ones"
        yield Reason(kind="idle", why=why)
        return
    if view is None or view.phase in ("draining", "gone"):
        yield from _going(facts)
        return
    if view.phase == "starting":
        yield from _starting(facts)
    elif view.job:
        yield Reason(
            kind="at-work",
            why=(
                f"it executes datum {view.index} of {facts.pipeline.name}@{view.job[:12]} for"
                f" {since(view.since_ns, facts.now_ns)}"
            ),
            remedy=f"`trunkline explain {facts.pipeline.name}@{view.job[:12]} {view.index}`",
        )
    else:
        yield _idle(facts)
    if lost := _last(facts.events, "reaped"):
        ago = since(lost.at_ns, facts.now_ns)
        yield Reason(kind="was-lost", why=f"{ago} ago one of this name was lost: {lost.text}")


def _going(facts: Facts) -> Iterator[Reason]:
    lost, drained = _last(facts.events, "reaped"), _last(_naming(facts, "drain"), "scaled")
    told = sorted((each for each in (lost, drained) if each), key=lambda each: -each.at_ns)
    for event in told:
        yield _scaled_down(facts, event) if event is drained else _lost(facts, event)
    if not told:
        yield Reason(
            kind="drained",
            why="it was told to end; the events that say why are not kept any more, or lie behind too many newer ones",
        )


def _scaled_down(facts: Facts, event: messages.Event) -> Reason:
    said = explanations.facts(event)
    before, want = said.get("wanted_before"), said.get("want")
    ago = since(event.at_ns, facts.now_ns)
    why = said.get("reason") or event.text
    if isinstance(before, int) and isinstance(want, int) and want < before:
        text = f"{facts.pipeline.name} was scaled down {ago} ago, from {before} to {counted(want, 'worker')}: {why}"
        return Reason(
            kind="scaled-down",
            why=f"{text}; it was drained, so no datum was lost",
            remedy=missing_workers.back(facts.pipeline, said),
        )
    code = "it is replaced by one of the pipeline's newer version or form"
    return Reason(kind="drained", why=f"it was drained {ago} ago: {code} ({why})")


def _lost(facts: Facts, event: messages.Event) -> Reason:
    return Reason(
        kind="lost",
        why=f"{since(event.at_ns, facts.now_ns)} ago {event.text}",
        remedy="another one takes its place by itself; nothing is lost",
    )


def _starting(facts: Facts) -> Iterator[Reason]:
    found = list(missing_workers.reasons(facts.pipeline, facts.scaling))
    yield from found
    if not found:
        yield Reason(kind="starting", why="it has not said yet that it is ready")


def _idle(facts: Facts) -> Reason:
    scaling = facts.scaling
    if scaling is not None and scaling.pending:
        why = f"it asks for work, with {counted(scaling.pending, 'datum')} waiting: it gets one at once, unless it is held for others"
        return Reason(kind="idle", why=why)
    standby = facts.pipeline.spec is not None and facts.pipeline.spec.standby
    stays = "it goes after a cool-down" if standby else "a pipeline that is not `standby` keeps it"
    return Reason(kind="idle", why=f"there is nothing to do; {stays}")


def _naming(facts: Facts, verb: str) -> list[messages.Event]:
    return [
        each for each in facts.events if each.kind == "scaled" and _names(each, verb, facts.name)
    ]


def _names(event: messages.Event, verb: str, worker: str) -> bool:
    return worker in explanations.strings(explanations.facts(event).get(verb))


def _last(events: Sequence[messages.Event], kind: str) -> messages.Event | None:
    return next((each for each in reversed(events) if each.kind == kind), None)


def pipeline_in(worker: str) -> str:
    """Return the pipeline whose worker would have this name; empty where there is none, or it is too long to stand in one."""
    pipeline, *rest = worker.rsplit("-", 2)
    return pipeline if len(rest) == 2 and len(pipeline) < NAMED_CHARS else ""


def may_be_of(pipeline: str, worker: str) -> bool:
    """Return whether a worker of this name may be, or have been, one of a pipeline's."""
    return worker.startswith(f"{pipeline[:NAMED_CHARS]}-")
