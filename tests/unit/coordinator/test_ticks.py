"""Which ticks are due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.contracts import names, schedules
from trunkline.coordinator.core import ticks


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def seconds(text: str) -> int:
    return int(at(text).timestamp())


def due(schedule: str, last: str, now: str, start: str = "") -> list[str]:
    found = ticks.due(
        schedules.parse(schedule), seconds(last), at(start) if start else None, at(now)
    )
    return [ticks.path(each)[1:-1] for each in found]


def test_a_tick_is_due_once_its_time_has_come():
    assert due("@every 90s", "2024-01-01T00:00:00", "2024-01-01T00:01:29") == []
    assert due("@every 90s", "2024-01-01T00:00:00", "2024-01-01T00:01:30") == [
        "2024-01-01T00:01:30"
    ]
    assert due("0 9 * * mon-fri", "2024-01-05T09:00:00", "2024-01-08T08:59:59") == []
    assert due("0 9 * * mon-fri", "2024-01-05T09:00:00", "2024-01-08T09:00:00") == [
        "2024-01-08T09:00:00"
    ]
    assert due("@never", "2024-01-01T00:00:00", "2034-01-01T00:00:00") == []


def test_what_was_missed_is_due_all_at_once():
    assert due("@daily", "2024-01-01T00:00:00", "2024-01-04T12:00:00") == [
        f"2024-01-0{day}T00:00:00" for day in (2, 3, 4)
    ]


@pytest.mark.parametrize("schedule", ["@every 1s", "* * * * *", "@hourly"])
def test_of_a_very_long_time_the_newest_ticks_are_made_up_for(schedule):
    found = due(schedule, "1980-01-01T00:00:00", "2024-01-01T00:00:00")
    assert len(found) == ticks.MOST
    assert found[-1] == "2024-01-01T00:00:00"
    assert found == sorted(found)


def test_no_tick_comes_before_the_start():
    made = seconds("2024-03-01T10:30:00") * 10**9
    assert ticks.begin(None, made) == seconds("2024-03-01T10:30:00")
    assert ticks.begin(at("2020-01-01T00:00:00"), made) == seconds("2020-01-01T00:00:00")
    later = "2024-06-01T00:00:00"
    assert due("@monthly", "2024-03-01T10:30:00", "2024-06-15T00:00:00", later) == []
    assert due("@monthly", "2024-03-01T10:30:00", "2024-07-15T00:00:00", later) == [
        "2024-07-01T00:00:00"
    ]
    end = at("9999-12-31T23:59:59")
    for schedule in ("@every 1h", "@daily"):
        assert ticks.following(schedules.parse(schedule), 0, end) is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["@every 7s", "@every 61s", "*/7 * * * *", "5 */3 * * 1-5", "0 0 29 2 *"]),
    st.integers(0, 2**31),
    st.integers(0, 40_000),
)
def test_the_newest_of_all_ticks_are_due(schedule, last, ahead):
    parsed = schedules.parse(schedule)
    now = datetime.fromtimestamp(last + ahead, UTC)
    every = []
    tick = ticks.following(parsed, last, None)
    while tick is not None and tick <= now:
        every.append(tick)
        tick = parsed.after(tick)
    assert ticks.due(parsed, last, None, now) == every[-ticks.MOST :]


def test_the_id_of_a_tick_is_made_of_the_pipeline_the_input_and_the_time():
    moment = at("2024-01-01T00:00:00")
    made = {
        ticks.commit_id(pipeline, input_name, when)
        for pipeline in ("p", "q")
        for input_name in ("p", "q")
        for when in (moment, moment + timedelta(seconds=1))
    }
    assert len(made) == 8
    for identifier in made:
        names.commit(identifier)
