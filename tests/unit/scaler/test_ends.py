"""Of what users' containers have ended: the pods' word and the workers', in whatever order."""

from typing import Any

import msgspec
import pytest

from trunkline.contracts.messages import Claim, Cut, Held
from trunkline.scaler.core.ends import Ends
from trunkline.scaler.core.losses import Key
from trunkline.scaler.core.reaping import mark
from trunkline.scaler.ports import Worker

KEY: Key = ("p", "w-0")
SECOND = 1_000_000_000
DATUM = Held(job="0" * 32, sequence=1, index=7, generation=1, executing=True)


def cut(since_s: float = 10.2, at_s: float = 17.9, incarnation: str = "one") -> Cut:
    return Cut(
        incarnation=incarnation,
        held=(DATUM,),
        since_ns=int(since_s * SECOND),
        at_ns=int(at_s * SECOND),
    )


def claim(its: Cut | None, **fields: Any) -> Claim:
    return Claim(worker="w-0", incarnation="two", code_hash="c", slots=1, cut=its, **fields)


def worker(oom_s: int = 17, name: str = "w-0") -> Worker:
    return Worker(name=name, pipeline="p", code_hash="c", oom_ns=oom_s * SECOND)


def test_it_takes_both_words_and_either_may_come_first() -> None:
    ends = Ends()
    assert ends.due([worker()]) == []
    assert ends.heard(KEY, claim(cut()))
    assert ends.due([worker(oom_s=0)]) == []
    (found,) = ends.due([worker()])
    assert (found.key, found.cut) == (KEY, cut())


def test_it_is_due_until_it_is_done_and_then_no_more() -> None:
    ends = Ends()
    ends.heard(KEY, claim(cut()))
    (found,) = ends.due([worker()])
    assert ends.due([worker()]) == [found]
    ends.done(found)
    assert not ends.heard(KEY, claim(cut()))
    assert ends.due([worker()]) == []


def test_more_of_the_same_end_and_a_later_one_are_due_again() -> None:
    ends = Ends()
    ends.heard(KEY, claim(cut()))
    ends.done(ends.due([worker()])[0])
    assert ends.heard(KEY, claim(msgspec.structs.replace(cut(), held=(DATUM, DATUM))))
    (more,) = ends.due([worker()])
    ends.done(more)
    ends.heard(KEY, claim(cut(18.5, 30, "two")))
    assert ends.due([worker()]) == []  # the pod still tells of the end before
    assert [each.cut.incarnation for each in ends.due([worker(30)])] == ["two"]


@pytest.mark.parametrize("closing", [False, True])
def test_a_successor_finds_out_from_what_is_stored(*, closing: bool) -> None:
    """The last claim of a life, the first of the next one, or the mark of a reaper on either."""
    last = claim(cut(), closing=closing, draining=closing)
    for stored in (last, mark(last, 5)):
        ends = Ends()
        ends.heard(KEY, stored)
        assert len(ends.due([worker()])) == 1


def test_another_end_is_not_taken_for_it() -> None:
    """Times in a pod's status are whole seconds, and may be told a little later than the agent sees the end."""
    ends = Ends()
    ends.heard(KEY, claim(cut()))
    assert [oom_s for oom_s in range(5, 25) if ends.due([worker(oom_s)])] == list(range(10, 19))


def test_a_worker_that_is_not_listed_any_more_is_forgotten() -> None:
    ends = Ends()
    ends.heard(KEY, claim(cut()))
    ends.keep([worker(name="w-1")])
    assert ends.due([worker()]) == []
