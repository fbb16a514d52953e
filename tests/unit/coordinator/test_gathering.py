"""Outcomes that came in any order are there by index."""

import random
from pathlib import Path

import pytest

from trunkline.coordinator import gathering
from trunkline.coordinator.gathering import Gathered


async def read(gathered: Gathered) -> dict[int, bytes]:
    items = [item async for batch in gathered.batches() for item in batch]
    assert [index for index, _ in items] == sorted(index for index, _ in items)
    return dict(items)


@pytest.mark.parametrize("spread", [1, 100])
async def test_what_goes_in_in_any_order_comes_out_by_index(tmp_path: Path, spread: int) -> None:
    """Also where they lie so far apart that they are not read in one piece."""
    chance = random.Random(1)
    expected = {
        index * spread: chance.randbytes(chance.randrange(17, 3_000)) for index in range(5_000)
    }
    order = list(expected)
    chance.shuffle(order)
    with Gathered(tmp_path) as gathered:
        for index in order:
            gathered.add(index, expected[index])
        assert await read(gathered) == expected
        assert all(index in gathered for index in order)
        assert spread == 1 or 1 not in gathered
        assert 10**9 not in gathered


async def test_a_later_one_of_an_index_stands_in_for_the_earlier_one(tmp_path: Path) -> None:
    with Gathered(tmp_path) as gathered:
        for index, kept in ((3, b"three"), (0, b"zero"), (3, b"again")):
            gathered.add(index, kept)
        assert await read(gathered) == {0: b"zero", 3: b"again"}


async def test_nothing_gathered_is_nothing(tmp_path: Path) -> None:
    with Gathered(tmp_path) as gathered:
        assert await read(gathered) == {}
        assert 0 not in gathered


async def test_one_that_is_larger_than_a_batch_comes_alone(tmp_path: Path) -> None:
    large = b"x" * (2 * gathering.BATCH_BYTES)
    with Gathered(tmp_path) as gathered:
        for index, kept in enumerate((b"a", large, b"b")):
            gathered.add(index, kept)
        assert [len(batch) async for batch in gathered.batches()] == [2, 1]


def test_no_file_is_left_behind(tmp_path: Path) -> None:
    with Gathered(tmp_path) as gathered:
        gathered.add(0, b"x" * 1_000_000)
        assert list(tmp_path.iterdir()) == []


def test_no_room_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Gathered(tmp_path / "missing")
