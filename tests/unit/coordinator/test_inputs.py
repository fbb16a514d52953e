"""Inputs that are combined: which datums there are, in which order, found again from any index."""

import itertools

import pytest
from tests.support import listings
from tests.support.listings import leaf

from trunkline.contracts import spec
from trunkline.coordinator import inputs


async def listed(value: spec.Input, sizes: dict[str, int], first: int = 0) -> list[tuple[int, str]]:
    repos = {repo: [f"/{repo}{n:05}" for n in range(size)] for repo, size in sizes.items()}
    found = await listings.datums(value, repos, lambda index: index >= first)
    return [(each.index, each.paths.replace("/", "")) for each in found]


@pytest.mark.parametrize("remembered", [0, 2, 100])
async def test_a_cross_is_the_nested_product_however_much_is_remembered(monkeypatch, remembered):
    monkeypatch.setattr(inputs, "REMEMBERED", remembered)
    value = spec.Input(cross=(leaf("a"), leaf("b"), leaf("c")))
    found = await listed(value, {"a": 3, "b": 2, "c": 4})
    names = [
        [f"{repo}{n:05}" for n in range(size)] for repo, size in (("a", 3), ("b", 2), ("c", 4))
    ]
    assert [told for _, told in found] == [", ".join(each) for each in itertools.product(*names)]
    assert [index for index, _ in found] == list(range(24))


async def test_a_union_is_one_after_the_other_and_may_stand_in_a_cross():
    union = spec.Input(union=(leaf("a"), leaf("b")))
    found = await listed(union, {"a": 2, "b": 1})
    assert [told for _, told in found] == ["a00000", "a00001", "b00000"]
    value = spec.Input(cross=(leaf("c"), union))
    found = await listed(value, {"a": 1, "b": 1, "c": 2})
    assert [told for _, told in found] == [
        "c00000, a00000",
        "c00000, b00000",
        "c00001, a00000",
        "c00001, b00000",
    ]


async def test_a_listing_goes_on_from_any_index():
    value = spec.Input(cross=(leaf("a"), leaf("b")))
    every = await listed(value, {"a": 5, "b": 5})
    rest = await listed(value, {"a": 5, "b": 5}, first=13)
    assert rest == every[13:]


async def test_a_cross_with_an_empty_input_has_no_datums():
    value = spec.Input(cross=(leaf("a"), leaf("b")))
    assert await listed(value, {"a": 5, "b": 0}) == []
