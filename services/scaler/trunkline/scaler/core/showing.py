"""A pipeline's scaling as people see it: a record that fits into a message, whatever there are of workers and nodes.

Counts are of all. Listed one by one are so many that the record stays below half of what a message may have: of workers those
first that do something or are in some trouble, the longest first; of nodes those first that do not count, since each says why.
"""

import heapq
from collections.abc import Sequence

from trunkline.contracts import records
from trunkline.contracts.messages import Claim
from trunkline.scaler.core import sight
from trunkline.scaler.core.decision import Decision
from trunkline.scaler.core.plan import Phase, Seen
from trunkline.scaler.ports import Node, Worker

WORKERS_MAX = 1000
"""Listed one by one, up to 0.4 kB each."""
NODES_MAX = 500
"""The same, up to 0.5 kB each."""
_WHY_MAX, _PROBLEM_MAX = 200, 2000

View = tuple[Worker, Seen, Claim | None]
"""What the cluster lists, what is made of it, and what it has said last."""


def scaling(
    pipeline: str, decision: Decision, views: Sequence[View], nodes: Sequence[Node], problem: str
) -> records.Scaling:
    """Return what is told of a decision and of what it is about."""
    listed, eligible = _listed(views), [each for each in nodes if each.eligible]
    shown = [*(each for each in nodes if not each.eligible), *eligible][:NODES_MAX]
    shown.sort(key=lambda each: each.name)
    return records.Scaling(
        pipeline=pipeline,
        cap=decision.cap,
        want=decision.want,
        have=len(views),
        ready=sum(each.phase in (Phase.IDLE, Phase.BUSY) for _, each, _ in views),
        busy=sum(1 for _, _, claim in views if claim is not None and claim.held),
        pending=decision.load.pending,
        in_flight=decision.load.in_flight,
        reason=decision.reason,
        kind=decision.kind.value,
        wants=decision.wants,
        eligible=len(eligible),
        nodes=tuple(
            records.Node(name=each.name, eligible=each.eligible, why_not=each.why_not[:_WHY_MAX])
            for each in shown
        ),
        more_nodes=len(nodes) - len(shown),
        workers=tuple(sight.show(*view) for view in listed),
        more_workers=len(views) - len(listed),
        problem=problem[:_PROBLEM_MAX],
    )


def _listed(views: Sequence[View]) -> Sequence[View]:
    """Return the workers that are listed, in their order."""
    if len(views) <= WORKERS_MAX:
        return views
    first = heapq.nsmallest(WORKERS_MAX, range(len(views)), key=lambda at: _rank(views[at]))
    return [views[at] for at in sorted(first)]


def _rank(view: View) -> tuple[bool, int, str]:
    worker, seen, _ = view
    troubled = bool(worker.problem) or seen.phase not in (Phase.IDLE, Phase.BUSY)
    return seen.phase is Phase.IDLE and not troubled, 0 if troubled else seen.since_ns, seen.name
