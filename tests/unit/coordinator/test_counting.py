"""What the leading coordinator counts, of what it hears and of what it reads."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from tests.support import memory
from tests.support.job_records import job_record

from trunkline.bus.ports import Entry
from trunkline.contracts import records
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.messages import Figures, Outcome
from trunkline.contracts.states import Cause, DatumState, JobState
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.counting import Counting
from trunkline.coordinator.tables import job_key
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import PIPELINES_MOST, REST, Metric, together


def outcome(
    pipeline: str = "edges", state: DatumState = DatumState.PROCESSED, **fields: Any
) -> Outcome:
    values = {
        "job": "a" * 32,
        "index": 0,
        "generation": 1,
        "datum": "d",
        "fingerprint": "f" * 32,
        "worker": "w",
        "incarnation": "i",
    }
    return Outcome(pipeline=pipeline, state=state, **{**values, **fields})


def job(state: JobState, pipeline: str = "edges", **fields: Any) -> records.Job:
    return job_record(pipeline, "a" * 32, state, **fields)


class Watch:
    """Clocks that stand still."""

    now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def counting(watch: Watch) -> Counting:
    return Counting(watch)


def value(counting: Counting, metric: Metric, *labels: str) -> object:
    found = {(each.name, of): count for each, of, count in together([counting.counted])}
    return found[metric.name, labels]


def test_an_outcome_is_counted_with_its_attempts_and_figures(counting: Counting) -> None:
    attempt = Attempt(worker="w", incarnation="i", started_ns=1, cause=Cause.OOM)
    figures = Figures(
        process_s=0.02, download_bytes=10, upload_bytes=20, redelivered=2, unkept_lines=5
    )
    counting.outcome(outcome(pipeline="edges", figures=figures))
    bad = outcome(pipeline="edges", state=DatumState.QUARANTINED, history=(attempt, attempt))
    counting.outcome(bad)
    assert value(counting, names.DATUMS, "edges", "processed") == 1
    assert value(counting, names.DATUMS, "edges", "quarantined") == 1
    assert value(counting, names.DATUMS, "edges", "failed") == 0
    assert value(counting, names.ATTEMPTS, "edges", "done") == 1
    assert value(counting, names.ATTEMPTS, "edges", "oom") == 2
    assert value(counting, names.TRANSFERRED, "edges", "up") == 20
    assert value(counting, names.REDELIVERIES, "edges") == 2
    assert value(counting, names.LOG_LINES_DROPPED, "edges") == 5
    process = value(counting, names.PHASE_SECONDS, "edges", "process")
    assert sum(process.counts) == 1  # type: ignore[attr-defined] # nobody ran the other one to its end


def test_windows_rounds_and_ends_of_a_job_are_counted_once(counting: Counting) -> None:
    waits, lists = job(JobState.WAITING), job(JobState.LISTING, started_ns=10**9)
    skips = msgspec.structs.replace(lists, skipped=(records.Skipped(run="r", count=30),), round=2)
    ended = msgspec.structs.replace(
        skips, state=JobState.SUCCESS, ended_ns=5 * 10**9, total=40, round=2
    )
    for old, new in ((waits, lists), (lists, skips), (skips, ended)):
        counting.job_changed(old, new)
    counting.job_changed(ended, msgspec.structs.replace(ended, compacted=True))
    assert value(counting, names.DATUMS, "edges", "skipped") == 30
    assert value(counting, names.REPAIRS, "edges") == 1
    assert value(counting, names.JOBS_ENDED, "edges", "SUCCESS") == 1
    assert value(counting, names.SKIP_RATIO, "edges") == 0.75
    assert value(counting, names.JOB_SECONDS, "edges", "SUCCESS").sum == 4  # type: ignore[attr-defined]


def test_what_a_new_leader_reads_is_shown_by_gauges_and_not_counted_again(
    counting: Counting,
) -> None:
    counts = records.Counts(quarantined=3)
    counting.job_changed(None, job(JobState.FAILURE, order=7, counts=counts))
    counting.job_changed(None, job(JobState.SUCCESS, order=6))
    assert value(counting, names.QUARANTINED, "edges") == 3
    with pytest.raises(KeyError):
        value(counting, names.JOBS_ENDED, "edges", "FAILURE")


def test_counters_of_a_job_that_runs_are_shown_at_zero_before_there_is_anything_to_count(
    counting: Counting,
) -> None:
    """Of one that begins at 1 Prometheus sees no rise: a leader that begins would hide the first failure of each pipeline."""
    counting.job_changed(None, job(JobState.RUNNING))
    assert value(counting, names.DATUMS, "edges", "failed") == 0
    assert value(counting, names.ATTEMPTS, "edges", "store-error") == 0
    assert value(counting, names.REDELIVERIES, "edges") == 0
    assert value(counting, names.JOBS_ENDED, "edges", "FAILURE") == 0
    assert value(counting, names.JOB_SECONDS, "edges", "SUCCESS").sum == 0  # type: ignore[attr-defined]


def test_a_job_is_quiet_since_something_has_moved_in_it_and_no_more_when_it_has_ended(
    counting: Counting, watch: Watch
) -> None:
    runs = job(JobState.RUNNING)
    counting.job_changed(None, runs)
    watch.now_s = 50
    assert value(counting, names.JOB_QUIET, "edges") == 50
    counting.moved("edges", runs.id, watch.wall_ns())
    watch.now_s = 70
    assert value(counting, names.JOB_QUIET, "edges") == 20
    counting.job_changed(runs, job(JobState.SUCCESS))
    assert value(counting, names.JOB_QUIET, "edges") == 0


def test_a_job_is_quiet_since_its_last_outcome_or_its_start_though_leaders_change(
    watch: Watch,
) -> None:
    watch.now_s = 5000
    counting = Counting(watch)
    runs = job(JobState.RUNNING, started_ns=1000 * 10**9)
    counting.job_changed(None, runs)
    assert value(counting, names.JOB_QUIET, "edges") == 4000
    counting.moved("edges", runs.id, 3000 * 10**9)
    counting.moved("edges", runs.id, 2000 * 10**9)
    assert value(counting, names.JOB_QUIET, "edges") == 2000
    counting.moved("edges", runs.id, 9000 * 10**9)
    assert value(counting, names.JOB_QUIET, "edges") == 0


def test_a_job_that_lists_for_hours_is_quiet_since_its_last_window_for_a_new_leader_too(
    watch: Watch,
) -> None:
    """It may list for long with no outcome at all: its record says by its time when it moved."""
    watch.now_s = 9000
    counting = Counting(watch)
    lists = job(JobState.LISTING, started_ns=1000 * 10**9)
    counting.job_changed(None, lists, 8990 * 10**9)
    assert value(counting, names.JOB_QUIET, "edges") == 10
    watch.now_s = 9020
    counting.job_changed(lists, msgspec.structs.replace(lists, listed_to=2000))
    assert value(counting, names.JOB_QUIET, "edges") == 0


async def test_a_coordinator_that_begins_counts_from_when_the_server_stored_a_record(
    watch: Watch,
) -> None:
    watch.now_s = 9000
    lists, jobs = job(JobState.LISTING, started_ns=1000 * 10**9), memory.MemoryTable[records.Job]()
    key = job_key(lists.pipeline, lists.id)
    jobs.entries[key] = Entry(key=key, value=lists, revision=1, at_ns=8700 * 10**9)
    counting, tables = Counting(watch), replace(memory.tables(), jobs=jobs)
    async with (
        asyncio.timeout(10),
        Catalog(tables, watch, local=True, counting=counting).following(),
    ):
        assert value(counting, names.JOB_QUIET, "edges") == 300


def test_ten_thousand_pipelines_have_no_more_series_than_those_that_are_named(
    counting: Counting,
) -> None:
    for number in range(10_000):
        counting.outcome(outcome(pipeline=f"p{number}"))
        counting.job_changed(None, job(JobState.RUNNING, f"p{number}"))
    assert value(counting, names.DATUMS, REST, "processed") == 10_000 - PIPELINES_MOST
    samples = together([counting.counted])
    named = {labels[metric.labels.index("pipeline")] for metric, labels, _ in samples if labels[1:]}
    assert len(named) == PIPELINES_MOST + 1
    assert len(samples) < 50 * (PIPELINES_MOST + 1)


def test_a_pipeline_that_is_deleted_ends_its_series(counting: Counting) -> None:
    counting.outcome(outcome(pipeline="edges"))
    counting.pipeline_gone("edges")
    assert not [labels for _, labels, _ in together([counting.counted]) if "edges" in labels]


def test_a_pipeline_past_the_bound_gets_a_place_that_is_free_with_all_that_comes_later(
    counting: Counting,
) -> None:
    for number in range(PIPELINES_MOST + 1):
        counting.outcome(outcome(pipeline=f"p{number}"))
    late = f"p{PIPELINES_MOST}"
    counting.pipeline_gone("p0")
    counting.outcome(outcome(pipeline=late))
    assert value(counting, names.DATUMS, late, "processed") == 1
    assert value(counting, names.DATUMS, REST, "processed") == 1
    shown = {labels for _, labels, _ in together([lambda: counting.of_jobs(())])}
    assert (late, JobState.RUNNING.value) in shown


def test_what_comes_late_for_a_pipeline_that_is_deleted_takes_no_place(watch: Watch) -> None:
    there = {"edges"}
    counting = Counting(watch, there.__contains__)
    counting.job_changed(None, job(JobState.RUNNING))
    counting.outcome(outcome())
    there.clear()
    counting.pipeline_gone("edges")
    counting.ignored("edges")
    counting.job_changed(job(JobState.KILLED), None)
    samples = together([counting.counted])
    assert not [labels for _, labels, _ in samples if "edges" in labels]
    assert names.JOB_QUIET not in {metric for metric, _, _ in samples}
    assert value(counting, names.OUTCOMES_IGNORED, REST) == 1
