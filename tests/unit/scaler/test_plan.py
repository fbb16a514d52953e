"""Who is created, drained and deleted."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trunkline.contracts import names
from trunkline.scaler.core.plan import (
    ENDED,
    STAYING,
    Change,
    Create,
    Delete,
    Drain,
    Phase,
    Seen,
    free_name,
    plan,
    shares,
)

NEW, OLD = "aaaaaaaabbbbbbbb", "1111111122222222"


def worker(ordinal: int, phase: Phase = Phase.IDLE, code_hash: str = NEW, **fields: object) -> Seen:
    return Seen(name=f"p-{code_hash[:8]}-{ordinal}", code_hash=code_hash, phase=phase, **fields)  # type: ignore[arg-type]


def drained(changes: Sequence[Change]) -> list[str]:
    return [change.name for change in changes if isinstance(change, Drain)]


def created(changes: Sequence[Change]) -> list[str]:
    return [change.name for change in changes if isinstance(change, Create)]


def after(seen: Sequence[Seen], changes: Sequence[Change]) -> list[Seen]:
    """Return what is seen once the changes have been begun."""
    gone = {change.name for change in changes if isinstance(change, Delete)}
    drains = {change.name for change in changes if isinstance(change, Drain)}
    stay = [
        Seen(name=each.name, code_hash=each.code_hash, phase=Phase.DRAINING)
        if each.name in drains
        else each
        for each in seen
        if each.name not in gone
    ]
    new = [
        Seen(name=change.name, code_hash=change.code_hash, phase=Phase.STARTING)
        for change in changes
        if isinstance(change, Create)
    ]
    return [*stay, *new]


def test_workers_are_named_by_the_lowest_free_number() -> None:
    seen = [worker(0), worker(2), worker(3, Phase.STOPPING)]
    assert created(plan("p", {NEW: 4}, seen)) == ["p-aaaaaaaa-1", "p-aaaaaaaa-4"]


def test_ten_nodes_then_four_then_ten() -> None:
    seen = after([], plan("p", {NEW: 10}, []))
    assert len(seen) == 10
    fewer = plan("p", {NEW: 4}, seen)
    assert len(drained(fewer)) == 6
    seen = after(seen, fewer)
    again = plan("p", {NEW: 10}, seen)
    assert len(created(again)) == 6
    assert not drained(again)  # one way: who drains goes, new ones come
    assert not set(created(again)) & set(drained(fewer))


def test_those_that_stay_are_not_touched() -> None:
    seen = [worker(number, Phase.BUSY, since_ns=number) for number in range(4)]
    changes = plan("p", {NEW: 7}, seen)
    assert len(changes) == len(created(changes)) == 3
    assert plan("p", {NEW: 4}, seen) == []


def test_idle_ones_go_before_busy_ones() -> None:
    seen = [worker(0), worker(1, Phase.BUSY, since_ns=5), worker(2, Phase.STARTING)]
    assert drained(plan("p", {NEW: 1}, seen)) == ["p-aaaaaaaa-2", "p-aaaaaaaa-0"]


def test_among_busy_ones_those_go_that_began_last() -> None:
    seen = [worker(number, Phase.BUSY, since_ns=number) for number in (3, 9, 5)]
    assert drained(plan("p", {NEW: 1}, seen)) == ["p-aaaaaaaa-9", "p-aaaaaaaa-5"]


def test_a_lost_node_decides_among_equals_only() -> None:
    seen = [worker(0), worker(1, misplaced=True), worker(2, Phase.BUSY, misplaced=True)]
    assert drained(plan("p", {NEW: 2}, seen)) == ["p-aaaaaaaa-1"]
    assert drained(plan("p", {NEW: 1}, seen)) == ["p-aaaaaaaa-1", "p-aaaaaaaa-0"]


def test_a_cordoned_nodes_workers_are_replaced_busy_or_not() -> None:
    seen = [worker(0, Phase.BUSY, must_go="its node is cordoned"), worker(1)]
    changes = plan("p", {NEW: 2}, seen)
    assert drained(changes) == ["p-aaaaaaaa-0"]
    assert created(changes) == ["p-aaaaaaaa-2"]


def test_who_has_drained_is_deleted_by_name() -> None:
    seen = [worker(0), worker(1, Phase.GONE), worker(2, Phase.DRAINING)]
    assert plan("p", {NEW: 1}, seen) == [Delete("p-aaaaaaaa-1", "it has drained")]


def test_new_code_replaces_old_workers() -> None:
    seen = [worker(number, code_hash=OLD) for number in range(3)]
    changes = plan("p", {NEW: 3}, seen)
    assert len(drained(changes)) == len(created(changes)) == 3
    (reason,) = {change.reason for change in changes if isinstance(change, Drain)}
    assert reason == "its code was replaced"


def test_who_worked_for_a_pipeline_that_was_deleted_or_stopped_is_not_told_of_other_code() -> None:
    (change,) = plan("p", {}, [worker(0)])
    assert isinstance(change, Drain)
    assert (change.name, change.reason) == ("p-aaaaaaaa-0", ENDED)


def rolled(seen: Sequence[Seen], want: int, *, comes_up: bool) -> tuple[list[Seen], int]:
    """Return where a roll ends whose new workers come up or never do, and the fewest that were ready."""
    ready, fewest = (Phase.IDLE, Phase.BUSY), want
    while changes := plan("p", {NEW: want}, seen):
        seen = [each for each in after(seen, changes) if each.phase is not Phase.DRAINING]
        fewest = min(fewest, sum(each.phase in ready for each in seen))
        if comes_up:
            seen = [replace(each, phase=Phase.IDLE) for each in seen]
    return list(seen), fewest


@pytest.mark.parametrize(("want", "missing"), [(1, 1), (3, 1), (4, 1), (9, 2), (40, 10)])
def test_an_edit_whose_workers_never_come_up_costs_a_quarter_and_is_rolled_back(
    want: int, missing: int
) -> None:
    before = [worker(number, outdated=True) for number in range(want)]
    stuck, fewest = rolled(before, want, comes_up=False)
    assert fewest == want - missing
    assert len(stuck) == want
    # the spec is what it was: those that never came up must go, and nobody else does
    back = [
        replace(each, outdated=False, must_go="" if each.phase is Phase.IDLE else "outdated")
        for each in stuck
    ]
    assert len(drained(plan("p", {NEW: want}, back))) == missing
    after_all, _ = rolled(back, want, comes_up=True)
    assert {each.name for each in after_all} > {each.name for each in back if not each.must_go}


@given(st.integers(1, 60))
def test_a_roll_ends_with_new_workers_and_no_more_than_a_quarter_missing(want: int) -> None:
    before = [worker(number, outdated=True) for number in range(want)]
    ended, fewest = rolled(before, want, comes_up=True)
    assert len(ended) == want
    assert not any(each.outdated for each in ended)
    assert fewest >= want - max(1, want // 4)


def test_a_roll_takes_idle_ones_first_and_waits_while_others_are_missing() -> None:
    seen = [
        worker(0, Phase.BUSY, outdated=True),
        worker(1, outdated=True),
        worker(2),
        worker(3),
    ]
    assert drained(plan("p", {NEW: 4}, seen)) == ["p-aaaaaaaa-1"]
    assert drained(plan("p", {NEW: 4}, [*seen[:3], worker(3, Phase.STARTING)])) == []


def test_a_surplus_takes_outdated_ones_before_others() -> None:
    seen = [worker(0, outdated=True), worker(1), worker(2)]
    assert drained(plan("p", {NEW: 2}, seen)) == ["p-aaaaaaaa-0"]


def test_old_jobs_keep_their_workers_within_the_want() -> None:
    assert shares(4, NEW, {OLD: 100}) == {OLD: 3, NEW: 1}
    assert shares(4, NEW, {OLD: 2}) == {OLD: 2, NEW: 2}
    assert shares(1, NEW, {OLD: 2}) == {OLD: 1, NEW: 0}
    assert shares(0, NEW, {OLD: 2}) == {OLD: 0, NEW: 0}
    assert shares(3, NEW, {}) == {NEW: 3}
    assert shares(5, NEW, {OLD: 3, "c": 9}) == {OLD: 3, "c": 1, NEW: 1}


@given(
    want=st.integers(0, 30),
    old=st.dictionaries(st.sampled_from(["x", "y", "z"]), st.integers(0, 40)),
)
def test_shares_are_the_want_in_all(want: int, old: dict[str, int]) -> None:
    given_out = shares(want, NEW, old)
    assert sum(given_out.values()) == want
    assert all(0 <= given_out[code] <= need for code, need in old.items())


@given(st.text("abcXYZ09-_", min_size=1, max_size=50), st.integers(0, 12))
def test_names_are_valid_and_free(tail: str, taken: int) -> None:
    pipeline = names.pipeline(f"p{tail}")
    used = {f"{pipeline}-{NEW[:8]}-{number}" for number in range(taken)}
    made = free_name(pipeline, NEW, used)
    assert names.worker(made) not in used


def test_a_long_pipelines_hundredth_worker_has_a_valid_name() -> None:
    pipeline = "p" * 51
    used: set[str] = set()
    for _ in range(120):
        used.add(names.worker(free_name(pipeline, NEW, used)))
    assert len(used) == 120


views = st.lists(
    st.builds(
        Seen,
        name=st.integers(0, 40).map(lambda number: f"p-aaaaaaaa-{number}"),
        code_hash=st.sampled_from([NEW, OLD]),
        phase=st.sampled_from(Phase),
        since_ns=st.integers(0, 5),
        misplaced=st.booleans(),
        outdated=st.booleans(),
        must_go=st.sampled_from(["", "", "", "its node is cordoned"]),
    ),
    max_size=30,
    unique_by=lambda seen: seen.name,
)
wanted = st.dictionaries(st.sampled_from([NEW, OLD]), st.integers(0, 15), min_size=1)


@given(views, wanted)
def test_after_a_plan_there_are_as_many_as_wanted(seen: list[Seen], wants: dict[str, int]) -> None:
    result = after(seen, plan("p", wants, seen))
    for code_hash in (NEW, OLD):
        staying = [s for s in result if s.code_hash == code_hash and s.phase in STAYING]
        assert len(staying) == wants.get(code_hash, 0)
    assert len({each.name for each in result}) == len(result)


@given(views, wanted)
def test_a_busy_worker_is_never_chosen_while_an_idle_one_stays(
    seen: list[Seen], wants: dict[str, int]
) -> None:
    chosen = set(drained(plan("p", wants, seen)))
    for victim in seen:
        if (
            victim.name in chosen
            and victim.phase is Phase.BUSY
            and not victim.must_go
            and not victim.outdated
        ):
            idle = [
                each
                for each in seen
                if each.code_hash == victim.code_hash
                and each.phase in (Phase.IDLE, Phase.STARTING)
                and each.name not in chosen
            ]
            assert not idle


@given(views, wanted)
def test_a_plan_that_was_begun_is_not_made_again(seen: list[Seen], wants: dict[str, int]) -> None:
    once = after(seen, plan("p", wants, seen))
    assert plan("p", wants, once) == []


@given(views, wanted, st.randoms(use_true_random=False))
def test_victims_do_not_depend_on_the_order_of_what_is_seen(
    seen: list[Seen], wants: dict[str, int], random: object
) -> None:
    shuffled = list(seen)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert {repr(each) for each in plan("p", wants, seen)} == {
        repr(each) for each in plan("p", wants, shuffled)
    }
