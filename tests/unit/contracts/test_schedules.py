from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import errors, schedules


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "now", "following"),
    [
        ("* * * * *", "2024-01-31T23:59:30", "2024-02-01T00:00:00"),
        ("*/15 * * * *", "2024-01-01T00:15:00", "2024-01-01T00:30:00"),
        ("5/20 * * * *", "2024-01-01T00:06:00", "2024-01-01T00:25:00"),
        ("30 4,16 * * *", "2024-01-01T05:00:00", "2024-01-01T16:30:00"),
        ("0 0 29 2 *", "2023-03-01T00:00:00", "2024-02-29T00:00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 9 * * mon-fri", "2024-01-05T10:00:00", "2024-01-08T09:00:00"),
        ("0 9 * jan,JUL 7", "2024-01-29T00:00:00", "2024-07-07T09:00:00"),
        ("0 0 1 * 1", "2024-01-02T00:00:00", "2024-01-08T00:00:00"),
        ("0 0 ? * 0/2", "2024-01-01T00:00:00", "2024-01-02T00:00:00"),
        ("@hourly", "2024-01-01T00:00:00", "2024-01-01T01:00:00"),
        ("@weekly", "2024-01-01T00:00:00", "2024-01-07T00:00:00"),
        ("@yearly", "2024-01-01T00:00:00", "2025-01-01T00:00:00"),
        ("@every 90s", "2024-01-01T00:00:00.7", "2024-01-01T00:01:30"),
        ("@every 1h 30m", "2024-01-01T00:00:00", "2024-01-01T01:30:00"),
    ],
)
def test_the_next_tick_is_the_first_moment_that_fits(schedule, now, following):
    assert schedules.parse(schedule).after(at(now)) == at(following)


def test_moments_are_compared_in_utc():
    there = datetime(2024, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert schedules.parse("@daily").after(there) == at("2024-01-01T00:00:00")


def test_what_never_comes_has_no_next_tick():
    for never in ("@never", "0 0 31 2 *"):
        assert schedules.parse(never).after(at("2024-01-01T00:00:00")) is None


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "@always",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * foo *",
        "5-1 * * * *",
        "*/0 * * * *",
        "*-5 * * * *",
        "1,,2 * * * *",
        "-1 * * * *",
        "\u0663 * * * *",
        "CRON_TZ=UTC * * * * *",
        "@every",
        "@every 0s",
        "@every 5",
        "@every 99999h",
        "* " * 500,
    ],
)
def test_what_is_no_schedule_is_refused(schedule):
    with pytest.raises(errors.InvalidScheduleError):
        schedules.parse(schedule)


@given(
    st.text(alphabet="0123456789*/,-? @aejnsuv", max_size=24),
    st.integers(0, 2**34).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_any_text_is_a_schedule_or_refused(text, now):
    try:
        found = schedules.parse(text)
    except errors.InvalidScheduleError:
        return
    following = found.after(now)
    assert following is None or following > now
