"""Behind which jobs another one waits: who has the workers of their pipeline, job by job."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from tests.unit.cli import test_explanations as build

from trunkline.cli.core import jobs, sharing
from trunkline.cli.core.explanations import Reason
from trunkline.contracts import records
from trunkline.contracts.states import JobState

ORDER = 50
"""Of the job that waits."""


def job(order: int, **fields: Any) -> records.Job:
    return build.job(id=f"{order:04}" * 8, order=order, **fields)


def short(order: int) -> str:
    return f"words@{order:04}{order:04}{order:04}"


def explained(at: Mapping[int, int], *, idle: int = 0, **fields: Any) -> list[Reason]:
    """Return why a job waits while so many workers run datums of other jobs.

    Args:
        at: Order of another job -> workers that run a datum of it, listed in this order.
        idle: Workers that hold nothing.
        fields: Others of `Facts`.
    """
    busy = [
        build.at_work(f"w{order}-{each}", job(order).id)
        for order, many in at.items()
        for each in range(many)
    ]
    free = [records.WorkerView(name=f"idle-{each}", phase="idle") for each in range(idle)]
    many = len(busy) + idle
    seen = build.scaling(
        cap=many, want=many, have=many, ready=many, workers=(*busy, *free), busy=len(busy)
    )
    given: dict[str, Any] = {"others": tuple(map(job, at)), "scaling": seen, **fields}
    facts = jobs.Facts(job=job(ORDER), now_ns=build.NOW, pipeline=build.pipeline(), **given)
    return list(jobs.reasons(facts))


def behind(at: Mapping[int, int], **fields: Any) -> Reason:
    [reason] = explained(at, **fields)
    assert reason.kind == "behind-job"
    return reason


@pytest.mark.parametrize(
    ("workers", "told"),
    [(1, "the only busy worker is"), (2, "all 2 busy workers are")],
)
def test_behind_one_job_it_is_named_with_its_standing(workers: int, told: str) -> None:
    reason = behind({7: workers})
    assert reason.why == (
        f"it waits behind an older job, at which {told}: job {short(7)} is RUNNING for 42s:"
        " 0 of 10 datums are done; a worker begins what it has in hand of an older job first"
    )
    assert reason.remedy == (
        f"raise `parallelism_spec` in the spec, which allows {workers}, or `trunkline stop job {short(7)}`"
    )


def test_of_two_jobs_each_has_its_number_of_workers_and_its_age() -> None:
    """As the workers are listed the younger job comes first, and it is not called older for that."""
    reason = behind({60: 1, 7: 3})
    assert reason.why.startswith(
        f"it waits behind 2 other jobs, at which all 4 busy workers are: 3 at {short(7)}"
        f" (older, 0 of 10 datums are done), 1 at {short(60)} (younger, 0 of 10 datums are done);"
    )
    assert f"`trunkline stop job {short(7)}`" in reason.remedy


def test_among_as_many_workers_the_oldest_job_comes_first_and_is_the_one_to_stop() -> None:
    reason = behind({60: 2, 9: 1, 7: 1})
    told = [reason.why.index(short(order)) for order in (60, 7, 9)]
    assert told == sorted(told)
    assert f"`trunkline stop job {short(7)}`" in reason.remedy


def test_of_twelve_jobs_the_busiest_are_named_and_the_rest_counted() -> None:
    reason = behind({order: 1 + order % 4 for order in range(1, 13)})
    assert "behind 12 other jobs, at which all 30 busy workers are: 4 at " in reason.why
    assert [short(each) in reason.why for each in (3, 7, 11, 2)] == [True, True, True, False]
    assert ", 18 at 9 more jobs;" in reason.why


def test_a_younger_job_alone_is_called_younger() -> None:
    reason = behind({60: 2})
    assert f"behind a younger job, at which all 2 busy workers are: job {short(60)}" in reason.why
    assert f"stop job {short(60)}" in reason.remedy


def test_of_a_job_whose_record_is_not_there_nothing_is_said_but_its_name() -> None:
    """The scaler's record is older than that of the jobs: it has ended meanwhile, say."""
    assert f"behind {short(7)}, at which the only busy worker is;" in behind({7: 1}, others=()).why
    both = behind({7: 1, 8: 1}, others=(job(8),)).why
    assert f"1 at {short(8)} (older, 0 of 10 datums are done), 1 at {short(7)};" in both


def test_who_has_an_idle_worker_waits_behind_nobody() -> None:
    assert [each.kind for each in explained({7: 2}, idle=1)] == ["queued"]


def test_workers_of_other_code_are_in_nobodys_way_and_of_no_use() -> None:
    code = {"code_hash": job(ORDER).code_hash}
    other = msgspec.structs.replace(build.at_work("w0", job(8).id), code_hash="d" * 16)
    ours = msgspec.structs.replace(build.at_work("w1", job(7).id), **code)
    idle = records.WorkerView(name="w2", phase="idle", code_hash="d" * 16)
    seen = build.scaling(cap=3, want=3, have=3, ready=3, workers=(other, ours, idle))
    reason = behind({7: 1, 8: 1}, scaling=seen)
    assert f"behind an older job, at which the only busy worker is: job {short(7)}" in reason.why


def test_more_workers_are_no_remedy_where_the_spec_allows_them_already() -> None:
    seen = build.scaling(cap=4, want=1, workers=(build.at_work("w", job(7).id),))
    assert behind({7: 1}, scaling=seen).remedy == f"`trunkline stop job {short(7)}`"


@pytest.mark.parametrize("idle", [0, 1])
def test_a_job_of_which_nobody_asks_for_datums_yet_says_how_many_are_older(idle: int) -> None:
    older = tuple(job(order) for order in range(1, 1 + sharing.ASKED_FOR))
    reason = behind({7: 1}, others=older, idle=idle)
    assert (
        "; 32 older jobs are at work, and workers ask for the datums of the 32 oldest" in reason.why
    )
    ended = msgspec.structs.replace(older[0], state=JobState.MERGING)
    found = explained({7: 1}, others=(ended, *older[1:]), idle=1)
    assert [each.kind for each in found] == ["queued"]


@pytest.mark.parametrize(
    ("orders", "told"),
    [((7, 8), "; 1 more older job waits, too;"), ((7, 8, 9, 60), "; 2 more older jobs wait, too;")],
)
def test_older_jobs_that_wait_as_well_are_counted(orders: tuple[int, ...], told: str) -> None:
    """Who stops the one that has the workers has them go there first."""
    assert told in behind({7: 2}, others=tuple(map(job, orders))).why
