"""Which jobs are assigned where not all fit into a message."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.coordinator.assignments import fitting

SIZES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=2), st.integers(1, 100))


def test_the_oldest_jobs_come_first_and_those_that_are_assigned_stay() -> None:
    sizes = {"old": 40, "assigned": 40, "young": 40}
    assert fitting(sizes, {"assigned"}, 100) == {"old", "assigned"}
    del sizes["assigned"]
    assert fitting(sizes, {"old", "assigned"}, 100) == {"old", "young"}


def test_a_job_that_is_larger_than_all_room_is_assigned_alone() -> None:
    assert fitting({"large": 500, "small": 1}, set(), 100) == {"large"}


@given(SIZES, st.sets(st.text("abcdefgh", min_size=1, max_size=2)))
def test_whoever_is_assigned_stays_until_its_end_and_in_the_end_all_had_their_turn(
    sizes: dict[str, int], known: set[str]
) -> None:
    """Jobs end one after the other, whichever is assigned first."""
    left = dict(sizes)
    while left:
        chosen = fitting(left, known, 150)
        assert chosen
        assert chosen >= known & left.keys()
        assert chosen <= left.keys()
        assert len(chosen) == 1 or sum(left[each] for each in chosen - known) <= 150
        known = chosen
        del left[min(chosen)]
