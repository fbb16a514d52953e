"""What is known of a job's datums: any order of events, told any number of times."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.contracts.states import DatumState
from trunkline.coordinator.core.job import (
    Complete,
    Event,
    Fold,
    Ignored,
    Killed,
    ListingEnded,
    Opened,
    OutcomeSeen,
    PutBack,
    Quiet,
    ReadAgain,
    ReadThrough,
    Restarted,
    WindowListed,
)

GOOD, BAD = DatumState.PROCESSED, DatumState.FAILED
EMPTY = Quiet(pending=0, in_flight=0)


def seen(index: int, state: DatumState = GOOD, generation: int = 1) -> OutcomeSeen:
    return OutcomeSeen(index=index, generation=generation, state=state)


def told(fold: Fold, *events: Event) -> list[object]:
    return [effect for event in events for effect in fold.handle(event)]


def listed(total: int, skipped: Sequence[int] = ()) -> Fold:
    fold = Fold()
    assert told(fold, Opened(64), WindowListed(total, skipped)) == []
    fold.handle(ListingEnded(total))
    return fold


def test_a_job_is_complete_when_its_last_datum_has_an_outcome() -> None:
    fold = listed(3, skipped=[1])
    assert told(fold, seen(0), seen(0), seen(2)) == [Complete(good=True)]
    assert (fold.counts.processed, fold.counts.skipped) == (2, 1)


def test_a_job_with_a_bad_datum_runs_to_its_end_and_is_no_good() -> None:
    fold = listed(3)
    assert told(fold, seen(1, BAD), seen(0)) == []
    assert told(fold, seen(2, DatumState.QUARANTINED)) == [Complete(good=False)]
    assert fold.bad == 2
    assert fold.failed(1) == [1]
    assert fold.failed(9) == [1, 2]


def test_a_job_without_datums_is_complete_when_its_listing_ends() -> None:
    assert told(Fold(), Opened(64), ListingEnded(0)) == [Complete(good=True)]


def test_outcomes_may_come_before_their_window_is_recorded() -> None:
    fold = Fold()
    assert told(fold, Opened(64), seen(0), seen(1), WindowListed(2)) == []
    assert told(fold, ListingEnded(2)) == [Complete(good=True)]


def test_records_that_cannot_be_right_are_ignored_and_told() -> None:
    fold = listed(2, skipped=[1])
    effects = told(fold, seen(2), seen(-1), seen(10**15), seen(0, generation=2), seen(1))
    assert [type(effect) for effect in effects] == [Ignored] * 5
    assert told(fold, seen(0, DatumState.SKIPPED))
    assert fold.done == 1


def test_a_restarted_datum_needs_an_outcome_of_its_new_generation() -> None:
    fold = listed(2)
    assert told(fold, seen(0), Restarted(0, 2), seen(0), seen(1)) == []
    assert told(fold, seen(0, generation=2)) == [Complete(good=True)]
    assert told(fold, Restarted(1, 3), Restarted(1, 3), seen(1, generation=3)) == [
        Complete(good=True)
    ]


def test_a_fold_knows_which_restarts_it_has_heard_of() -> None:
    fold = listed(3)
    assert fold.knows({})
    assert not fold.knows({"1": 2})
    fold.handle(Restarted(1, 2))
    assert fold.knows({"1": 2})
    assert not fold.knows({"1": 3})
    assert not fold.knows({"1": 2, "2": 2})


def test_lost_datums_are_put_back_after_two_quiet_looks_and_a_second_reading() -> None:
    fold = listed(5)
    assert told(fold, seen(0), EMPTY) == []
    assert told(fold, EMPTY) == [ReadAgain()]
    assert told(fold, seen(3), ReadThrough()) == [PutBack(below=5, count=3)]
    assert list(fold.missing(5)) == [1, 2, 4]


def test_nothing_is_put_back_that_the_second_reading_finds() -> None:
    fold = listed(2)
    assert told(fold, EMPTY, EMPTY) == [ReadAgain()]
    assert told(fold, seen(0), seen(1), ReadThrough()) == [Complete(good=True)]


def test_a_look_that_finds_work_or_progress_starts_over() -> None:
    fold = listed(3)
    assert told(fold, EMPTY, Quiet(pending=0, in_flight=1), EMPTY) == []
    assert told(fold, seen(0), EMPTY) == []
    assert told(fold, EMPTY) == [ReadAgain()]


def test_datums_that_were_listed_between_two_looks_are_not_taken_for_lost() -> None:
    fold = Fold()
    told(fold, Opened(64), WindowListed(64), *map(seen, range(64)))
    assert told(fold, EMPTY, Opened(192), WindowListed(192), EMPTY) == []


def test_a_killed_job_has_no_effects_but_counts_on() -> None:
    fold = listed(1)
    assert told(fold, Killed(), EMPTY, EMPTY, ReadThrough(), seen(0)) == []
    assert fold.counts.processed == 1


indexes = st.integers(min_value=-2, max_value=45)
events = st.one_of(
    st.builds(OutcomeSeen, indexes, st.integers(0, 3), st.sampled_from(list(DatumState))),
    st.builds(Restarted, st.integers(0, 39), st.integers(0, 3)),
    st.builds(Quiet, st.integers(0, 1), st.integers(0, 1)),
    st.just(ReadThrough()),
)


@settings(max_examples=300)
@given(
    total=st.integers(0, 40),
    skipped=st.sets(st.integers(0, 39)),
    others=st.lists(st.tuples(st.integers(0, 3), events), max_size=80),
)
def test_whatever_is_told_in_whatever_order_the_fold_is_the_tally_of_what_counts(
    total: int,
    skipped: set[int],
    others: list[tuple[int, Event]],
) -> None:
    skipped = {index for index in skipped if index < total}
    phases: list[Event] = [Opened(64), WindowListed(total, skipped), ListingEnded(total)]
    fold = Fold()
    expected: dict[int, DatumState] = {}
    generations: dict[int, int] = {}
    completions = 0
    ordered = sorted(others, key=lambda pair: pair[0])
    for phase in range(4):
        for event in (event for at, event in ordered if at == phase):
            effects = fold.handle(event)
            completions += sum(isinstance(effect, Complete) for effect in effects)
            model(event, phase, total, expected, generations)
            check(fold, phase)
        if phase < 3:
            effects = fold.handle(phases[phase])
            completions += sum(isinstance(effect, Complete) for effect in effects)
            if phase == 1:
                expected |= dict.fromkeys(skipped, DatumState.SKIPPED)
            if phase == 2:
                expected = {index: state for index, state in expected.items() if index < total}
            check(fold, phase + 1)
    assert {i: s for i in range(64) if (s := fold.state_of(i)) is not None} == expected
    for index in range(total):
        completions += sum(
            isinstance(effect, Complete)
            for effect in fold.handle(seen(index, generation=fold.generation_of(index)))
        )
    assert fold.complete
    assert fold.done == total
    assert completions >= 1


def model(
    event: Event,
    phase: int,
    total: int,
    expected: dict[int, DatumState],
    generations: dict[int, int],
) -> None:
    """Take an event into a plain dict, by what the docstrings say."""
    match event:
        case OutcomeSeen(index, generation, state):
            opened = 0 if phase == 0 else total if phase == 3 else 64
            right = 0 <= index < opened and state is not DatumState.SKIPPED
            if right and generation == generations.get(index, 1):
                expected.setdefault(index, state)
        case Restarted(index, generation):
            if generation > generations.get(index, 1):
                generations[index] = generation
                expected.pop(index, None)
        case _:
            pass


def check(fold: Fold, phase: int) -> None:
    """The invariants that Fold states."""
    states = [state for i in range(fold.opened) if (state := fold.state_of(i)) is not None]
    counts = fold.counts
    assert fold.done == len(states)
    assert counts.processed == states.count(DatumState.PROCESSED)
    assert counts.skipped == states.count(DatumState.SKIPPED)
    assert counts.recovered == states.count(DatumState.RECOVERED)
    assert counts.failed == states.count(DatumState.FAILED)
    assert counts.quarantined == states.count(DatumState.QUARANTINED)
    assert fold.listed_to <= fold.opened
    assert fold.state_of(fold.opened) is None
    assert fold.complete == (phase == 3 and fold.done == fold.total)
    missing = list(fold.missing())
    assert missing == [i for i in range(fold.listed_to) if fold.state_of(i) is None]
