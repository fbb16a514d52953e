"""What is said of what has no record any more, from the events that are left."""

import msgspec
import pytest
from tests.unit.cli import test_explanations as build

from trunkline.cli.core import gone, workers
from trunkline.contracts import messages


def event(kind: str, ago_s: int, **fields: str) -> messages.Event:
    at_ns = build.NOW - ago_s * 10**9
    given = {"text": kind, "source": "coordinator", "pipeline": "words", **fields}
    return msgspec.convert(
        {"type": "event.v1", "kind": kind, "at_ns": at_ns, **given}, messages.Event
    )


MADE, RAN, DELETED = (
    event("spec-accepted", 90),
    event("job-created", 80, job=build.ID),
    event("pipeline-deleted", 42),
)


def test_of_a_pipeline_that_was_deleted_it_is_said_when_and_how_it_comes_back() -> None:
    found = gone.pipeline("words", (MADE, RAN, DELETED), build.NOW)
    assert found is not None
    assert found.standing == "pipeline words is gone"
    [reason] = found.reasons
    assert (reason.kind, "words was deleted 42s ago" in reason.why) == ("deleted", True)
    assert "trunkline apply" in reason.remedy
    assert gone.pipeline("words", (MADE, RAN), build.NOW) is None
    going = gone.pipeline("words", (MADE, event("pipeline-deleting", 3)), build.NOW)
    assert going is not None
    assert "is being deleted, which began 3.0s ago" in going.reasons[0].why


def test_of_a_job_that_has_no_record_the_deletion_after_it_is_to_blame() -> None:
    found = gone.job("words", build.ID[:6], (MADE, RAN, DELETED), build.NOW)
    assert found is not None
    assert found.standing == f"job words@{build.ID[:12]} is gone"
    assert "words was deleted 42s ago" in found.reasons[0].why
    assert found.events == (RAN,)
    alone = gone.job("words", build.ID, (event("pipeline-deleted", 99), MADE, RAN), build.NOW)
    assert alone is not None
    assert "`TRUNKLINE_KEEP_JOBS`" in alone.reasons[0].why
    assert gone.job("words", "ffff", (MADE, RAN, DELETED), build.NOW) is None


def test_of_a_datum_that_has_no_record_what_events_say_of_it_is_left() -> None:
    tried = msgspec.structs.replace(event("attempt", 60, job=build.ID), index=3)
    for identifier in (build.ID[:6], ""):
        found = gone.job("words", identifier, (MADE, RAN, tried, DELETED), build.NOW, 3)
        assert found is not None
        assert (found.what, found.name) == ("datum", f"words@{build.ID} 3")
        assert found.standing == f"datum 3 of words@{build.ID[:12]} is gone"
        assert "words was deleted 42s ago" in found.reasons[0].why
        assert found.events == (tried,)
    assert gone.job("words", build.ID, (MADE, RAN, tried, DELETED), build.NOW, 4) is None


def test_of_a_worker_whose_pipeline_was_deleted_that_is_said() -> None:
    found = gone.worker("words-c0de-0", "words", (MADE, DELETED), build.NOW)
    assert found is not None
    assert found.standing == "worker words-c0de-0 of words is gone"
    assert gone.worker("words-c0de-0", "words", (MADE,), build.NOW) is None


@pytest.mark.parametrize(
    ("worker", "pipeline"),
    [
        ("words-c0de1234-0", "words"),
        ("of-words-c0de1234-12", "of-words"),
        ("words", ""),
        ("words-0", ""),
        ("x" * 30 + "-c0de-0", ""),
    ],
)
def test_the_pipeline_of_a_worker_that_is_gone_is_known_by_its_name(
    worker: str, pipeline: str
) -> None:
    assert workers.pipeline_in(worker) == pipeline
