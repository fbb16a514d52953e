"""What a pipeline wants over time."""

from hypothesis import given
from hypothesis import strategies as st

from trunkline.scaler.core.parallelism import Cap
from trunkline.scaler.core.standby import Load, Standby

CAP = Cap(workers=10, why="constant 10")
COOL_DOWN_S = 10.0


def standby(have: int = 0) -> Standby:
    return Standby(have, 0.0, cool_down_s=COOL_DOWN_S)


def test_three_datums_start_three_workers_though_ten_are_allowed() -> None:
    state = standby()
    assert state.want(CAP, Load(), 20.0).workers == 0
    assert state.want(CAP, Load(pending=3), 21.0).workers == 3
    assert state.want(CAP, Load(pending=1, in_flight=2), 22.0).workers == 3


def test_it_goes_straight_to_the_cap_when_there_is_much() -> None:
    assert standby().want(CAP, Load(pending=1_000_000), 20.0).workers == 10


def test_it_goes_back_to_none_after_the_cool_down_and_says_when() -> None:
    state = standby()
    state.want(CAP, Load(pending=3), 21.0)
    idle = state.want(CAP, Load(), 30.0)
    assert idle.workers == 3
    assert idle.again_in_s == 10.0  # it was needed until now
    assert "cooling down" in idle.why
    assert state.want(CAP, Load(), 39.9).workers == 3
    gone = state.want(CAP, Load(), 40.0)
    assert (gone.workers, gone.again_in_s) == (0, None)


def test_a_burst_between_two_pauses_starts_nobody_twice() -> None:
    state = standby()
    wants = [
        state.want(CAP, Load(pending=5 if at % 4 == 0 else 0), 100.0 + at).workers
        for at in range(40)
    ]
    assert set(wants) == {5}


def test_jobs_to_come_keep_one_worker_but_start_none() -> None:
    asleep = standby()
    assert asleep.want(CAP, Load(to_come=True), 20.0).workers == 0
    awake = standby()
    awake.want(CAP, Load(pending=4), 20.0)
    for at in range(21, 100):
        assert awake.want(CAP, Load(to_come=True), float(at)).workers >= 1
    assert awake.want(CAP, Load(to_come=True), 100.0).workers == 1
    assert awake.want(CAP, Load(), 101.0).workers == 1
    assert awake.want(CAP, Load(), 111.0).workers == 0


def test_a_restart_ends_nobody_before_the_cool_down() -> None:
    adopted = standby(have=4)
    assert adopted.want(CAP, Load(), 1.0).workers == 4
    assert adopted.want(CAP, Load(), 11.0).workers == 0


def test_a_lower_cap_holds_at_once() -> None:
    state = standby()
    state.want(CAP, Load(pending=9), 1.0)
    assert state.want(Cap(workers=4, why=""), Load(pending=9), 2.0).workers == 4
    assert state.want(CAP, Load(pending=9), 3.0).workers == 9


def test_slots_are_filled_before_workers_are_started() -> None:
    assert standby().want(CAP, Load(pending=9), 1.0, slots=4).workers == 3


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.integers(0, 20), st.integers(0, 20), st.booleans()),
        max_size=30,
    )
)
def test_it_is_never_below_the_need_nor_above_what_was_needed_lately(
    steps: list[tuple[float, int, int, bool]],
) -> None:
    state, now_s = standby(), 0.0
    needs: list[tuple[float, float, int]] = []  # from, to, need
    for wait_s, pending, in_flight, to_come in steps:
        if needs:
            needs[-1] = (needs[-1][0], now_s + wait_s, needs[-1][2])
        now_s += wait_s
        want = state.want(
            CAP, Load(pending=pending, in_flight=in_flight, to_come=to_come), now_s
        ).workers
        needs.append((now_s, now_s, pending + in_flight))
        lately = [need for _, until, need in needs if until > now_s - COOL_DOWN_S]
        assert min(10, pending + in_flight) <= want <= min(10, max([*lately, 1]))
