"""Which jobs above keep one from its input: each is asked for once, and what failed first is told first."""

from collections.abc import Mapping

import pytest
from tests.support.jobs_above import ID, NOW, by_name, job, layered

from trunkline.cli.core import jobs, upstream
from trunkline.cli.core.explanations import Reason
from trunkline.contracts import records
from trunkline.contracts.states import JobState


def searched(
    start: records.Job, stored: Mapping[str, records.Job]
) -> tuple[upstream.Search, list[str]]:
    search, asked = upstream.Search(start), []
    while name := search.wanted:
        asked.append(name)
        search.take(stored.get(name))
    return search, asked


def explained(start: records.Job, stored: Mapping[str, records.Job], most: int = 1) -> list[Reason]:
    search, _ = searched(start, stored)
    roots = search.roots()
    near = [jobs.Facts(job=each, now_ns=NOW, way=search.way(each)) for each in roots[:most]]
    facts = jobs.Facts(
        job=start, now_ns=NOW, upstream=tuple(near), further=tuple(roots[most:]), cut=search.cut
    )
    return list(jobs.reasons(facts))


@pytest.mark.parametrize("below", [JobState.UNRUNNABLE, JobState.WAITING])
def test_each_job_of_a_deep_and_wide_dag_is_asked_for_once(below: JobState) -> None:
    stored = layered(12, 3, below=below, top=JobState.FAILURE)
    search, asked = searched(stored["p11-0"], stored)
    assert len(asked) == len(set(asked)) == 3 * 11
    assert [each.pipeline for each in search.roots()] == ["p0-2", "p0-1", "p0-0"]
    assert [each.pipeline for each in search.way(stored["p0-2"])] == [
        f"p{layer}-0" for layer in range(10, 0, -1)
    ]


def test_above_so_many_jobs_no_more_are_asked_for_and_that_is_said() -> None:
    stored = layered(upstream.ASKED, 2, below=JobState.UNRUNNABLE, top=JobState.FAILURE)
    start = stored[f"p{upstream.ASKED - 1}-0"]
    search, asked = searched(start, stored)
    assert (len(asked), search.cut) == (upstream.ASKED, True)
    assert explained(start, stored)[-1].kind == "not-looked-at"


@pytest.mark.parametrize("reads", [("early", "late"), ("late", "early")])
def test_of_two_inputs_that_failed_the_one_that_did_so_first_is_told(
    reads: tuple[str, str],
) -> None:
    late = job("late", JobState.FAILURE, ended_ns=NOW - 1, reason="2 datums failed")
    early = job("early", JobState.FAILURE, ended_ns=NOW - 9, reason="1 datum failed")
    start = job("joined", JobState.UNRUNNABLE, *reads, ended_ns=NOW)
    first, other = explained(start, by_name([late, early]))
    assert f"early@{ID[:12]} is FAILURE: 1 datum failed" in first.why
    assert other.why == f"there is no input either from late@{ID[:12]} (FAILURE)"


def test_who_waits_is_told_of_what_runs_above_and_of_what_is_between() -> None:
    slow = job("slow", JobState.RUNNING, started_ns=NOW - 7 * 10**9, total=3)
    done = job("done", JobState.SUCCESS, ended_ns=NOW)
    between = job("between", JobState.WAITING, "slow", "done")
    start = job("last", JobState.WAITING, "between", "slow")
    stored = by_name([slow, done, between])
    stands = f"slow@{ID[:12]}, which is RUNNING for 7.0s: 0 of 3 datums are done"
    [reason] = explained(start, stored)
    assert reason.why.startswith(f"it waits for its input from {stands}")
    [reason] = explained(job("last", JobState.WAITING, "between"), stored)
    way = f"by way of between@{ID[:12]}, from {stands}"
    assert reason.why.startswith(f"it waits for its input, {way}")


def test_what_still_runs_beside_what_failed_is_no_cause() -> None:
    runs = job("runs", JobState.RUNNING, started_ns=NOW)
    failed = job("failed", JobState.FAILURE, ended_ns=NOW - 1)
    start = job("joined", JobState.UNRUNNABLE, "runs", "gone", "failed", ended_ns=NOW)
    search, asked = searched(start, by_name([runs, failed]))
    assert asked == ["runs", "gone", "failed"]
    assert search.roots() == [failed]
