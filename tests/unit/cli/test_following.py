"""Which jobs of a set are looked at again by whoever follows it."""

import pytest
from tests.support.jobs_above import job, layered

from trunkline.client.following import may_have_changed
from trunkline.contracts import records
from trunkline.contracts.states import JobState


def asked_again(*jobs: records.Job) -> list[str]:
    seen = {(each.pipeline, each.id): each for each in jobs}
    return [each.pipeline for each in jobs if may_have_changed(each, seen)]


def test_of_a_wide_dag_only_what_may_have_gone_on_is_asked_for_again() -> None:
    stored = layered(12, 3, below=JobState.WAITING, top=JobState.RUNNING)
    assert asked_again(*stored.values()) == ["p0-0", "p0-1", "p0-2"]


def test_who_waits_is_asked_for_once_all_that_it_reads_is_there_or_one_has_failed() -> None:
    runs, done = job("runs", JobState.RUNNING), job("done", JobState.SUCCESS)
    failed = job("failed", JobState.FAILURE)
    both = job("both", JobState.WAITING, "runs", "done")
    assert asked_again(runs, done, both) == ["runs"]
    assert asked_again(done, job("one", JobState.WAITING, "done")) == ["one"]
    never = job("never", JobState.WAITING, "runs", "failed")
    assert asked_again(runs, failed, never) == ["runs", "never"]


@pytest.mark.parametrize("reads", [(), ("elsewhere",)])
def test_who_waits_for_what_is_not_followed_is_always_asked_for(reads: tuple[str, ...]) -> None:
    assert asked_again(job("alone", JobState.WAITING, *reads)) == ["alone"]
