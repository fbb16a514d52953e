"""Datums against outcomes: what is lost, what is too much, what is somebody else's."""

from hypothesis import given
from hypothesis import strategies as st
from tests.support.job_records import job_record

from trunkline.audit.core.findings import Verdict
from trunkline.audit.core.tally import Tally
from trunkline.contracts import records
from trunkline.contracts.states import DatumState, JobState


def fingerprint(number: int) -> bytes:
    return (number + 1).to_bytes(16, "big")


def listed(datums: int) -> Tally:
    tally = Tally()
    for number in range(datums):
        tally.list_datum(fingerprint(number))
    return tally


def a_job(state: JobState, **fields: object) -> records.Job:
    return job_record("p", "a" * 32, state, salt="s", created_ns=1, **fields)


def broken(tally: Tally, job: records.Job) -> set[str]:
    return {each.check for each in tally.findings(job) if each.verdict is Verdict.BROKEN}


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(0, 10))
def test_what_is_lost_and_what_is_twice_is_counted_whatever_comes_in_which_order(indexes, datums):
    tally = listed(datums)
    for index in indexes:
        tally.take(index, DatumState.PROCESSED, fingerprint(index), 1)
    counts = [indexes.count(index) for index in range(datums)]
    strangers = sum(index >= datums for index in indexes)
    assert tally.lost == counts.count(0)
    assert tally.twice == sum(count > 1 for count in counts) + strangers
    found = broken(tally, a_job(JobState.SUCCESS))
    assert ("none lost" in found) == (0 in counts)
    assert ("none twice" in found) == (tally.twice > 0)
    assert "each its own" not in found


def test_an_outcome_with_another_datums_fingerprint_is_told():
    tally = listed(2)
    tally.take(0, DatumState.PROCESSED, fingerprint(0), 1)
    tally.take(1, DatumState.SKIPPED, fingerprint(0), 1)
    assert broken(tally, a_job(JobState.SUCCESS)) == {"each its own"}


def test_an_outcome_that_could_not_be_right_is_its_datums_all_the_same():
    tally = listed(1)
    tally.take(0, DatumState.FAILED, bytes(16), 1)
    assert broken(tally, a_job(JobState.FAILURE, total=1)) == set()


def test_a_job_that_was_ended_before_has_lost_nothing():
    tally = listed(2)
    tally.take(0, DatumState.PROCESSED, fingerprint(0), 1)
    assert broken(tally, a_job(JobState.KILLED, total=2)) == set()
    assert broken(tally, a_job(JobState.FAILURE)) == set()
    assert broken(tally, a_job(JobState.FAILURE, total=2)) == {"none lost"}


def test_counts_that_are_not_those_of_the_record_are_told():
    tally = listed(2)
    tally.take(0, DatumState.PROCESSED, fingerprint(0), 3)
    tally.take(1, DatumState.SKIPPED, fingerprint(1), 9)
    right = records.Counts(processed=1, skipped=1)
    assert tally.retried == 2, "what an earlier job took is not counted again"
    assert broken(tally, a_job(JobState.SUCCESS, outcomes="x", counts=right)) == set()
    wrong = records.Counts(processed=2)
    assert broken(tally, a_job(JobState.SUCCESS, outcomes="x", counts=wrong)) == {"counts"}
