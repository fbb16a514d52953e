"""Which nodes count for a pipeline."""

import pytest

from trunkline.scaler.core.eligibility import Eligibility, judge
from trunkline.scaler.ports import ANYWHERE, Node, Placement, Requirement, Taint, Toleration

NODE = Node(name="n", labels=(("disk", "ssd"), ("size", "4")))
TAINTED = Node(name="n", taints=(Taint(key="gpu", value="yes"),))


def test_what_keeps_a_node_from_all_pipelines_is_left_as_it_is() -> None:
    away = Node(name="n", eligible=False, why_not="not ready", taints=TAINTED.taints)
    assert judge(away, ANYWHERE) == away


@pytest.mark.parametrize(
    ("toleration", "eligible"),
    [
        (Toleration(operator="Exists"), True),
        (Toleration(key="gpu", operator="Exists", effect="NoExecute"), False),
        (Toleration(key="gpu", value="yes"), True),
        (Toleration(key="gpu", value="no"), False),
    ],
)
def test_a_tainted_node_counts_for_those_who_tolerate_it(
    toleration: Toleration, eligible: bool
) -> None:
    found = judge(TAINTED, Placement(tolerations=(toleration,)))
    assert found.eligible is eligible
    assert found.why_not == ("" if eligible else "taint gpu=yes:NoSchedule")


def test_a_node_without_the_selectors_label_says_which() -> None:
    found = judge(NODE, Placement(selector=(("disk", "hdd"),)))
    assert found.why_not == "label disk is not hdd"


@pytest.mark.parametrize(
    ("operator", "values", "eligible"),
    [
        ("In", ("4", "8"), True),
        ("NotIn", ("4",), False),
        ("Exists", (), True),
        ("DoesNotExist", (), False),
        ("Gt", ("3",), True),
        ("Lt", ("4",), False),
        ("Lt", ("many",), False),
        ("Like", ("4",), False),
    ],
)
def test_affinity_is_taken_as_the_scheduler_takes_it(
    operator: str, values: tuple[str, ...], eligible: bool
) -> None:
    term = (Requirement(key="size", operator=operator, values=values),)
    assert judge(NODE, Placement(affinity=((), term))).eligible is eligible


def test_one_look_judges_each_placement_for_itself() -> None:
    nodes = Eligibility([NODE, TAINTED])
    assert [each.eligible for each in nodes.of(ANYWHERE)] == [True, False]
    assert [each.eligible for each in nodes.of(Placement(affinity=()))] == [False, False]
