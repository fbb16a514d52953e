"""How many workers a spec means on the nodes that are there."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts.spec import Parallelism
from trunkline.scaler.core.parallelism import cap
from trunkline.scaler.ports import Node


def nodes(count: int, *, cordoned: int = 0) -> list[Node]:
    good = [Node(name=f"n{number}") for number in range(count)]
    out = [
        Node(name=f"c{number}", eligible=False, why_not="cordoned", cordoned=True)
        for number in range(cordoned)
    ]
    return good + out


@pytest.mark.parametrize(
    ("parallelism", "expected"),
    [
        (Parallelism(coefficient=0.5), 5),
        (Parallelism(coefficient=2.0), 20),
        (Parallelism(coefficient=1.0), 10),
        (Parallelism(), 10),
        (Parallelism(coefficient=0.29), 2),
        (Parallelism(coefficient=0.01), 1),
        (Parallelism(constant=3), 3),
        (Parallelism(constant=40), 40),
    ],
)
def test_ten_nodes(parallelism: Parallelism, expected: int) -> None:
    assert cap(parallelism, nodes(10)).workers == expected


def test_a_coefficient_is_meant_in_decimal() -> None:
    assert math.floor(0.29 * 100) == 28  # what a float would make of it
    assert cap(Parallelism(coefficient=0.29), nodes(100)).workers == 29


def test_the_default_coefficient_is_the_installations() -> None:
    assert cap(Parallelism(), nodes(10), default=0.3).workers == 3
    assert cap(Parallelism(coefficient=1.0), nodes(10), default=0.3).workers == 10


def test_the_reason_names_the_nodes_that_do_not_count() -> None:
    found = cap(Parallelism(coefficient=0.5), nodes(4, cordoned=1))
    assert found.why == "4 nodes x 0.5 = 2 workers; 1 node not counted: cordoned"


def test_without_a_node_that_counts_there_is_one_worker() -> None:
    found = cap(Parallelism(coefficient=2.0), nodes(0, cordoned=2))
    assert found.workers == 1
    assert found.why == "0 nodes x 2 is below 1: 1 worker; 2 nodes not counted: cordoned"


def test_the_installation_has_the_last_word() -> None:
    found = cap(Parallelism(constant=10_000_000), nodes(1), most=1000)
    assert found.workers == 1000
    assert "limited to 1000" in found.why


@given(
    coefficient=st.decimals(min_value="0.01", max_value=50, places=2),
    count=st.integers(0, 200),
)
def test_it_is_the_floor_of_the_product_but_never_none(coefficient: object, count: int) -> None:
    found = cap(Parallelism(coefficient=float(str(coefficient))), nodes(count), most=10**9)
    assert found.workers == max(1, math.floor(Fraction(str(coefficient)) * count))


@given(coefficient=st.floats(0.001, 100), count=st.integers(0, 100))
def test_one_node_more_never_means_fewer_workers(coefficient: float, count: int) -> None:
    parallelism = Parallelism(coefficient=coefficient)
    assert cap(parallelism, nodes(count)).workers <= cap(parallelism, nodes(count + 1)).workers
