"""How fast the API server is asked for changes."""

import pytest

from trunkline.scaler.kubernetes.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)


def test_so_many_at_once_then_so_many_a_second() -> None:
    pace = Pace(2.0, 3, Clock())
    assert [pace.take() for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 1.0]


def test_time_gives_tokens_back_up_to_the_burst() -> None:
    clock = Clock()
    pace = Pace(2.0, 3, clock)
    for _ in range(3):
        pace.take()
    clock.now_s += 1000
    assert [pace.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_a_servers_word_holds_all_and_a_shorter_one_does_not_shorten_it() -> None:
    clock = Clock()
    pace = Pace(2.0, 3, clock)
    pace.hold(7.0)
    pace.hold(1.0)
    assert pace.take() == pytest.approx(7.0)
    clock.now_s += 7
    assert pace.take() == 0.0


def test_what_may_be_left_out_takes_a_token_only_if_there_is_one() -> None:
    clock = Clock()
    pace = Pace(1.0, 2, clock)
    assert [pace.spare() for _ in range(4)] == [True, True, False, False]
    clock.now_s += 1
    assert [pace.spare(), pace.spare()] == [True, False]
