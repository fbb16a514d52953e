"""What the leading scaler counts of its decisions and of those who are gone."""

from trunkline.contracts import records
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import PIPELINES_MOST, REST, Metric, together
from trunkline.scaler.core.standby import Reason
from trunkline.scaler.counting import Counting


def scaling(pipeline: str, **fields: object) -> records.Scaling:
    values = {"cap": 4, "want": 4, "have": 3, "ready": 2, "busy": 1, "pending": 7, "in_flight": 1}
    return records.Scaling(pipeline=pipeline, reason="so it is", **{**values, **fields})  # type: ignore[arg-type]


def value(
    counting: Counting, metric: Metric, *labels: str, of: tuple[records.Scaling, ...] = ()
) -> object:
    found = together([lambda: counting.samples(of)])
    return {(each.name, told): count for each, told, count in found}[metric.name, labels]


def test_a_decision_counts_when_it_is_another_one() -> None:
    counting = Counting()
    for want, reason in ((3, Reason.WORK), (3, Reason.WORK), (0, Reason.IDLE)):
        counting.decided("edges", 0, want, reason)
    assert value(counting, names.SCALE_DECISIONS, "edges", "up", "work") == 1
    assert value(counting, names.SCALE_DECISIONS, "edges", "down", "idle") == 1
    assert value(counting, names.SCALE_DECISIONS, "edges", "up", "cap") == 0


def test_a_scaler_that_begins_counts_no_decision_that_its_predecessor_has_made() -> None:
    counting = Counting()
    counting.decided("edges", 4, 4, Reason.CAP)
    assert value(counting, names.SCALE_DECISIONS, "edges", "up", "cap") == 0


def test_what_was_given_back_is_counted_and_how_long_that_took_for_those_that_were_lost() -> None:
    counting = Counting()
    counting.lost("edges")
    counting.given_back("edges", 5, 0.02)
    counting.given_back("edges", 2, None)
    assert value(counting, names.GIVEN_BACK, "edges") == 7
    assert value(counting, names.WORKERS_LOST, "edges") == 1
    assert value(counting, names.REDISTRIBUTION).sum == 0.02  # type: ignore[attr-defined]


def test_gauges_are_the_last_records_and_pipelines_past_the_bound_are_summed() -> None:
    counting = Counting()
    of = tuple(scaling(f"p{number}", problem="no room") for number in range(PIPELINES_MOST + 10))
    assert value(counting, names.WANT, "p0", of=of) == 4
    assert value(counting, names.IDLE, "p0", of=of) == 1
    assert value(counting, names.STARTS_FAIL, REST, of=of) == 10
    assert value(counting, names.PENDING, REST, of=of) == 70


def test_a_pipeline_that_is_gone_ends_its_series_and_what_comes_late_takes_no_place() -> None:
    there = {"edges"}
    counting = Counting(there.__contains__)
    counting.lost("edges")
    there.clear()
    counting.forget("edges")
    counting.given_back("edges", 3, None)
    assert value(counting, names.GIVEN_BACK, REST) == 3
    samples = together([lambda: counting.samples(())])
    assert not [labels for _, labels, _ in samples if "edges" in labels]
