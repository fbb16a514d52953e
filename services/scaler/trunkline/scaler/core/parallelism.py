"""How many workers a pipeline may have: its spec and the nodes that count."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from trunkline.contracts import parallelism as rule
from trunkline.contracts.spec import Parallelism
from trunkline.scaler.ports import Node


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """The most workers, and why."""

    workers: int
    why: str
    """Such as `4 nodes x 0.5 = 2 workers; 1 node not counted: cordoned`."""


def cap(
    parallelism: Parallelism, nodes: Sequence[Node], *, default: float = 1.0, most: int = 1000
) -> Cap:
    """Return how many workers a spec means on these nodes: at least 1.

    Args:
        parallelism: `constant` or `coefficient`, or neither.
        nodes: All nodes of the cluster.
        default: The coefficient where the spec sets neither.
        most: The installation's own limit for one pipeline.
    """
    if parallelism.constant is not None:
        count, why = parallelism.constant, f"constant {parallelism.constant}"
    else:
        coefficient = default if parallelism.coefficient is None else parallelism.coefficient
        count, why = _follow(coefficient, nodes)
    if count > most:
        return Cap(workers=most, why=f"{why}, limited to {most} by the installation")
    return Cap(workers=count, why=why)


def _follow(coefficient: float, nodes: Sequence[Node]) -> tuple[int, str]:
    """Return how many workers these nodes make, with the sentence that says so."""
    eligible = sum(1 for node in nodes if node.eligible)
    count = rule.by_nodes(coefficient, eligible)
    why = f"{_counted(eligible, 'node')} x {coefficient:g} = {_counted(count, 'worker')}"
    if rule.exactly(coefficient, eligible) < 1:
        why = f"{_counted(eligible, 'node')} x {coefficient:g} is below 1: 1 worker"
    left_out = Counter(node.why_not or "not eligible" for node in nodes if not node.eligible)
    for reason, many in sorted(left_out.items()):
        why += f"; {_counted(many, 'node')} not counted: {reason}"
    return count, why


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
