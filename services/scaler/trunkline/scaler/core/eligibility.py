"""Which nodes count for a pipeline: where its workers could be put, as Kubernetes' scheduler has it.

What a node lacks for any pipeline (it is not ready, or cordoned) is decided where nodes are read; here
its taints, the selector and the affinity are. Room on a node does not matter: a full one counts.
"""

from collections.abc import Sequence

import msgspec

from trunkline.scaler.ports import Node, Placement, Requirement, Taint, Toleration

_KEEP_AWAY = ("NoSchedule", "NoExecute")


class Eligibility:
    """The nodes of one look, judged for each placement once."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._judged: dict[Placement, tuple[Node, ...]] = {}

    def of(self, placement: Placement) -> tuple[Node, ...]:
        """Return all nodes, each with whether it counts."""
        found = self._judged.get(placement)
        if found is None:
            found = tuple(judge(node, placement) for node in self._nodes)
            self._judged[placement] = found
        return found


def judge(node: Node, placement: Placement) -> Node:
    """Return a node with whether it counts where workers may be placed so."""
    why_not = _why_not(node, placement) if node.eligible else ""
    return msgspec.structs.replace(node, eligible=False, why_not=why_not) if why_not else node


def _why_not(node: Node, placement: Placement) -> str:
    for taint in node.taints:
        if taint.effect in _KEEP_AWAY and not any(
            _tolerates(each, taint) for each in placement.tolerations
        ):
            value = f"={taint.value}" if taint.value else ""
            return f"taint {taint.key}{value}:{taint.effect}"
    labels = dict(node.labels)
    for key, value in placement.selector:
        if labels.get(key) != value:
            return f"label {key} is not {value}"
    terms = placement.affinity
    if terms is not None and not any(_holds(term, labels) for term in terms):
        return "node affinity does not match"
    return ""


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    return toleration.key == taint.key and toleration.value == taint.value


def _holds(term: Sequence[Requirement], labels: dict[str, str]) -> bool:
    """Return whether a term holds; an empty one never does."""
    return bool(term) and all(_meets(each, labels.get(each.key)) for each in term)


def _meets(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compares(requirement, value)
        case _:
            return False


def _compares(requirement: Requirement, value: str | None) -> bool:
    try:
        one, other = int(value or ""), int(requirement.values[0])
    except (ValueError, IndexError):
        return False
    return one > other if requirement.operator == "Gt" else one < other
