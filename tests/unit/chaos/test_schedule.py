"""What breaks when is a function of the seed."""

from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.chaos.core import schedule
from trunkline.chaos.core.schedule import Fault, Habit, Kind, Target

ALL = schedule.HABITS["all"]
seeds = st.integers(0, 2**64)


def first(seed: int, habits: tuple[Habit, ...], count: int = 60) -> list[Fault]:
    return list(islice(schedule.faults(seed, habits), count))


@settings(max_examples=20)
@given(seeds)
def test_a_seed_gives_the_same_faults_again_by_time(seed):
    found = first(seed, ALL)
    assert found == first(seed, ALL)
    assert found == sorted(found, key=lambda fault: fault.at_s)
    assert all(0 <= fault.chance < 1 for fault in found)


def test_another_seed_gives_others():
    assert first(1, ALL) != first(2, ALL)


def test_a_schedule_is_the_same_on_every_machine_and_in_every_version():
    """Else a seed that has found something is worth nothing tomorrow."""
    [fault] = first(7, schedule.KILLS, 1)
    assert (round(fault.at_s, 6), fault.target) == (2.598648, Target.WORKER)


@settings(max_examples=20)
@given(seeds)
def test_a_habit_is_not_changed_by_those_beside_it(seed):
    kills = first(seed, schedule.KILLS, 40)
    beside = takewhile(lambda fault: fault.at_s <= kills[-1].at_s, schedule.faults(seed, ALL))
    pairs = {(habit.kind, habit.target) for habit in schedule.KILLS}
    assert [fault for fault in beside if (fault.kind, fault.target) in pairs] == kills


@pytest.mark.parametrize("habit", ALL, ids=lambda habit: f"{habit.kind}-{habit.target}")
def test_faults_come_as_often_and_last_as_long_as_their_habit_says(habit):
    found = first(3, (habit,), 400)
    gaps = [b.at_s - a.at_s for a, b in pairwise(found)]
    assert all(0.5 * habit.every_s <= gap <= 1.5 * habit.every_s for gap in gaps)
    assert sum(gaps) / len(gaps) == pytest.approx(habit.every_s, rel=0.1)
    least, most = habit.lasts_s
    assert all(least <= fault.lasts_s <= most for fault in found)
    assert {habit.kind for fault in found if fault.lasts_s} <= {Kind.PAUSE}
