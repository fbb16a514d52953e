"""Which datums may be worked on once more, and when a job has had its time."""

import msgspec
import pytest

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState
from trunkline.coordinator.core import deadline, restarts
from trunkline.coordinator.core.restarts import RestartRefusedError

S = 1_000_000_000


def job(state: JobState = JobState.RUNNING, **fields: object) -> records.Job:
    found = records.Job(
        pipeline="edges",
        id="a" * 32,
        version=1,
        code_hash="",
        spec=spec.PipelineSpec(
            name="edges",
            transform=spec.Transform(cmd=("true",)),
            input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/")),
            job_timeout_s=90.0,
        ),
        salt="",
        order=1,
        inputs=(),
        state=state,
        created_ns=1,
        started_ns=10 * S,
        listed_to=10,
    )
    return msgspec.structs.replace(found, **fields)


@pytest.mark.parametrize("state", [JobState.LISTING, JobState.RUNNING])
def test_a_datum_of_a_running_job_gets_the_next_generation(state: JobState) -> None:
    once = restarts.raised(job(state), {3: 2, 4: 2}, ())
    assert once is not None
    assert once.generations == {"3": 2, "4": 2}
    twice = restarts.raised(once, {3: 3}, ())
    assert twice is not None
    assert twice.generations == {"3": 3, "4": 2}


def test_the_same_request_again_changes_nothing_whatever_became_of_the_job() -> None:
    assert restarts.raised(job(generations={"3": 2}), {3: 2}, ()) is None
    assert restarts.raised(job(JobState.MERGING, generations={"3": 2}), {3: 2}, ()) is None


@pytest.mark.parametrize(
    "state", [JobState.SUCCESS, JobState.FAILURE, JobState.KILLING, JobState.KILLED]
)
def test_in_an_ended_job_the_remedy_is_a_new_one(state: JobState) -> None:
    with pytest.raises(RestartRefusedError, match="trunkline rerun"):
        restarts.raised(job(state), {3: 2}, ())


@pytest.mark.parametrize(
    ("index", "generation", "skipped", "told"),
    [
        (10, 2, (), "datum 10 is not listed"),
        (-1, 2, (), "datum -1 is not listed"),
        (3, 2, (3,), "datum 3 is skipped"),
        (3, 3, (), "datum 3 has no generation 2"),
    ],
)
def test_what_nobody_works_on_is_not_restarted_and_neither_are_the_others_of_the_request(
    index: int, generation: int, skipped: tuple[int, ...], told: str
) -> None:
    with pytest.raises(RestartRefusedError, match=told):
        restarts.raised(job(), {5: 2, index: generation}, skipped)


def test_a_job_names_no_more_restarts_than_workers_can_be_told() -> None:
    full = job(listed_to=9999, generations={str(each): 2 for each in range(restarts.MOST)})
    with pytest.raises(RestartRefusedError, match="more than"):
        restarts.raised(full, {5000: 2}, ())
    assert restarts.raised(full, {7: 3}, ()) is not None


def test_only_restarts_that_are_not_put_yet_are_due() -> None:
    restarted = job(generations={"3": 2, "4": 3})
    assert restarts.due(restarted, {}) == {3: 2, 4: 3}
    assert restarts.due(restarted, {"3": 2, "4": 2}) == {4: 3}


def test_the_time_of_a_job_begins_with_its_listing() -> None:
    assert deadline.left_s(job(started_ns=0), 999 * S) is None
    assert deadline.left_s(job(), 40 * S) == 60.0
    assert deadline.left_s(job(), 101 * S) == -1.0
    assert "90 s" in deadline.reason(job())
    without = msgspec.structs.replace(job().spec, job_timeout_s=None)
    assert deadline.left_s(job(spec=without), 999 * S) is None
