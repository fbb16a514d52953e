"""What is seen of a worker: the cluster's word, the worker's own, and what it was asked to do."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from trunkline.contracts import records
from trunkline.contracts.messages import Claim, Held
from trunkline.contracts.wording import counted
from trunkline.scaler.core.plan import OUTDATED, Phase, Seen
from trunkline.scaler.ports import Node, Worker


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one worker beside what the cluster lists."""

    claim: Claim | None = None
    """The last one, while the worker lives."""
    silent_s: float = 0.0
    """Seconds since that claim; without one, since the worker was first seen running."""
    asked_s: float | None = None
    """Seconds since it was asked to drain; None: it was not."""
    outdated: bool = False
    """Whether it would be made in another way now."""


def see(
    worker: Worker,
    signs: Signs,
    nodes: Mapping[str, Node],
    *,
    drain_answer_s: float,
    silent_s: float,
) -> Seen:
    """Return one worker as the plan takes it.

    Args:
        worker: As the cluster lists it.
        signs: What else is known.
        nodes: By name.
        drain_answer_s: After which one that was asked to drain and says nothing is gone.
        silent_s: After which one that runs and says nothing is to be replaced.
    """
    claim, node = signs.claim, nodes.get(worker.node)
    must_go = worker.lost or worker.must_go
    if not must_go and node is not None and node.cordoned:
        must_go = f"its node {node.name} is cordoned"
    elif not must_go and claim is None and worker.running and signs.silent_s > silent_s:
        must_go = f"no sign of life for {silent_s:.0f} s"
    elif not must_go and signs.outdated and claim is None and _kept_down(worker):
        must_go = OUTDATED  # it never came up, and may never: nothing is lost with it
    begun = executing(claim)
    return Seen(
        name=worker.name,
        code_hash=worker.code_hash,
        phase=_phase(worker, signs, drain_answer_s),
        since_ns=begun.since_ns if begun else 0,
        incarnation=claim.incarnation if claim else "",
        instance=worker.instance,
        must_go=must_go,
        outdated=signs.outdated,
        misplaced=bool(worker.node) and (node is None or not node.eligible),
    )


def show(worker: Worker, seen: Seen, claim: Claim | None) -> records.WorkerView:
    """Return one worker as people see it."""
    begun = executing(claim)
    phase = "gone" if seen.phase in (Phase.GONE, Phase.STOPPING) else str(seen.phase)
    return records.WorkerView(
        name=worker.name,
        phase=phase,
        code_hash=worker.code_hash,
        held=len(claim.held) if claim else 0,
        job=begun.job if begun else "",
        index=begun.index if begun else None,
        since_ns=begun.since_ns if begun else 0,
        pulled_ns=claim.pulled_ns if claim else 0,
        created_ns=worker.created_ns,
    )


def trouble(workers: Sequence[Worker], current: str = "") -> str:
    """Return what keeps most of the workers that have trouble from their work; empty: nothing.

    Args:
        workers: Of one pipeline.
        current: Code hash of its newest version. Jobs of older ones may wait for ever for what a newer one
            has mended, and hold up those behind them: then it is said what ends that.
    """
    problems = Counter(worker.problem for worker in workers if worker.problem)
    if not problems:
        return ""
    (problem, many), *_ = sorted(problems.items(), key=lambda each: (-each[1], each[0]))
    old = all(worker.code_hash != current for worker in workers if worker.problem == problem)
    remedy = f" ({_OLD})" if current and old else ""
    return f"{many} of {counted(len(workers), 'worker')}: {problem}{remedy}"


_OLD = "it is for a job of older code: `stop job` ends that, or `apply --now`"


def executing(claim: Claim | None) -> Held | None:
    """Return the datum that a worker began last."""
    begun = [held for held in claim.held if held.executing] if claim else []
    return max(begun, key=lambda held: held.since_ns, default=None)


def _kept_down(worker: Worker) -> bool:
    """Return whether the cluster says that it does not run, or why: one that only has not claimed may yet."""
    return not worker.running or bool(worker.problem)


def _phase(worker: Worker, signs: Signs, drain_answer_s: float) -> Phase:
    claim = signs.claim
    if worker.lost:
        return Phase.GONE
    if worker.stopping:
        return Phase.STOPPING
    if signs.asked_s is not None or (claim is not None and claim.draining):
        empty = claim is not None and claim.draining and not claim.held
        overdue = signs.asked_s is None or signs.asked_s >= drain_answer_s
        # a living worker claims every few seconds; twice that without one, and it does not live
        mute = claim is None or signs.silent_s > 2 * drain_answer_s
        return Phase.GONE if empty or (overdue and mute) else Phase.DRAINING
    if claim is None:
        return Phase.STARTING
    return Phase.BUSY if claim.held else Phase.IDLE
