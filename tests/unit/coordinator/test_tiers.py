"""How runs of a done index are merged."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.coordinator.core import tiers


def test_few_runs_are_left_alone() -> None:
    assert tiers.newest_to_merge([1] * tiers.MOST) == 0


def test_a_large_old_run_is_not_moved_for_a_few_small_ones() -> None:
    assert tiers.newest_to_merge([1_000_000] + [1] * tiers.MOST) == tiers.MOST


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_after_a_merge_there_are_few_enough(counts: list[int]) -> None:
    merged = tiers.newest_to_merge(counts)
    left = counts[: len(counts) - merged] + ([sum(counts[-merged:])] if merged else [])
    assert len(left) <= tiers.MOST
    assert merged != 1


def test_an_entry_moves_few_times_over_a_thousand_jobs() -> None:
    counts: list[int] = []
    moved = 0
    for _ in range(1000):
        counts.append(1)
        if merged := tiers.newest_to_merge(counts):
            moved += sum(counts[-merged:])
            counts[-merged:] = [sum(counts[-merged:])]
    assert moved < 12 * 1000
