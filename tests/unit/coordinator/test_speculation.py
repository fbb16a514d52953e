"""Which datums are given to a second worker: slow ones, where one is idle, once each, few at a time."""

import dataclasses

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.contracts import messages, records, spec
from trunkline.contracts.spec import Speculation
from trunkline.contracts.states import JobState
from trunkline.coordinator import speculating
from trunkline.coordinator.core.speculation import Durations, Running, Stragglers, View


def running(index: int, by: str = "w1", for_s: float = 0.0) -> Running:
    return Running(index, 1, by, by, 1, for_s)


def view(*slow: Running, **fields: object) -> View:
    made = View(total=8, done=6, waiting=0, workers=4, idle=2, running=slow)
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def stragglers(*durations_s: float, **wanted: float) -> Stragglers:
    made = Stragglers(Speculation(**wanted))
    for each in durations_s or (2.0,) * 6:
        made.durations.add(each)
    return made


def chosen(made: Stragglers, at: View, now_s: float = 100.0) -> list[int]:
    return [each.slow.index for each in made.look(at, now_s)]


def test_what_takes_longer_than_the_factor_times_most_is_copied_once():
    made = stragglers()
    assert chosen(made, view(running(7, for_s=3.0))) == []
    assert chosen(made, view(running(7, for_s=3.0)), 100.2) == [7]
    assert chosen(made, view(running(7, for_s=3.0)), 200.0) == []
    restarted = dataclasses.replace(running(7, for_s=9.0), generation=2)
    assert chosen(made, view(restarted)) == [7]


@pytest.mark.parametrize(
    "fields",
    [{"total": None}, {"done": 5}, {"done": 8}, {"waiting": 1}, {"idle": 0}],
    ids=["still listed", "too few done", "all done", "something waits", "nobody is idle"],
)
def test_nothing_is_copied(fields: dict[str, object]):
    assert chosen(stragglers(), view(running(7, for_s=60.0), **fields)) == []


def test_a_silent_worker_goes_on_ageing_and_a_clock_that_jumps_back_makes_nobody_younger():
    made = stragglers()
    assert chosen(made, view(running(7, for_s=0.5)), 100.0) == []
    assert chosen(made, view(running(7, for_s=-1e6)), 102.0) == []
    assert chosen(made, view(running(7, for_s=0.5)), 102.7) == [7]


def test_a_datum_of_milliseconds_is_not_slow_before_the_floor():
    made = stragglers(*(0.01,) * 8)
    assert chosen(made, view(running(7, for_s=0.9))) == []
    assert chosen(made, view(running(7, for_s=1.1), running(6, "w2", 0.2))) == []
    assert chosen(made, view(running(7, for_s=1.1)), 100.3) == [7]


def test_one_that_two_workers_execute_already_was_copied_by_somebody_before_us():
    made = stragglers()
    both = (running(7, for_s=60.0), running(7, "w2", 5.0))
    assert chosen(made, view(*both, running(6, "w3", 50.0))) == []
    assert chosen(made, view(running(7, for_s=60.0))) == [], "nor again once the copy is gone"


def test_one_that_is_left_takes_no_room_and_one_that_failed_to_be_put_is_put_again():
    made = stragglers()
    slow = view(running(7, for_s=60.0), running(6, "w2", 50.0))
    (copy,) = made.look(slow, 100.0)
    made.unmade(copy)
    (copy,) = made.look(slow, 100.0)
    assert copy.slow.index == 7
    made.leave(copy)
    assert chosen(made, slow) == [6]


AGES = st.lists(st.floats(0, 100), min_size=1, max_size=40)


@given(st.lists(AGES, min_size=1, max_size=6), st.integers(1, 50), st.integers(0, 50))
def test_never_more_are_out_than_a_tenth_of_the_workers_or_one_nor_than_are_idle(
    looks: list[list[float]], workers: int, idle: int
):
    made = stragglers()
    out: set[int] = set()
    for number, ages in enumerate(looks):
        slow = [running(index, f"w{index}", age) for index, age in enumerate(ages)]
        at = view(*slow, total=100, done=80, workers=workers, idle=idle)
        new = chosen(made, at, 100.0 + number)
        assert len(new) <= idle
        assert not out & set(new)
        out |= set(new)
        assert len(out & set(range(len(ages)))) <= max(1, workers // 10) or not new


@given(st.lists(st.floats(0.002, 1e5), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_of_durations_is_hardly_more_than_the_true_one(took: list[float], share: float):
    durations = Durations()
    for each in took:
        durations.add(each)
    exact = sorted(took)[max(0, -int(-share * len(took) // 1) - 1)]
    assert exact <= durations.quantile_s(share) * 1.000001
    assert durations.quantile_s(share) <= exact * 1.023


def test_claims_say_who_is_idle_and_what_executes():
    pinned = spec.PipelineSpec(
        name="words",
        transform=spec.Transform(cmd=("true",)),
        input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/*")),
        speculation=Speculation(),
    )
    job = records.Job(
        pipeline="words",
        id="a" * 32,
        version=1,
        code_hash="c",
        spec=pinned,
        salt="",
        order=1,
        inputs=(),
        state=JobState.RUNNING,
        created_ns=1,
        generations={"3": 2},
    )

    def held(index: int, **fields: object) -> messages.Held:
        made = messages.Held(
            job=job.id, sequence=1, index=index, generation=1, executing=True, since_ns=10
        )
        return msgspec.structs.replace(made, **fields)

    def claim(*holds: messages.Held, **fields: object) -> messages.Claim:
        made = messages.Claim(
            worker="w1", incarnation="i1", code_hash="c", slots=1, held=holds, at_ns=2_000_000_010
        )
        return msgspec.structs.replace(made, **fields)

    claims = [
        claim(held(1), held(2, executing=False)),
        claim(held(3)),
        claim(held(4, job="b" * 32)),
        claim(),
        claim(code_hash="old"),
        claim(draining=True),
        claim(closing=True),
    ]
    seen = speculating.view(job, claims, 8, 6, waiting=0)
    assert (seen.workers, seen.idle) == (4, 1)
    assert seen.running == [Running(1, 1, "w1", "i1", 10, 2.0)]
