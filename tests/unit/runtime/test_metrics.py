"""How a process counts, and what becomes of it when somebody asks."""

from prometheus_client import parser

from trunkline.runtime import exposition
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import REST, Buckets, Meter, Pipelines, Sample, together


def shown(*sources) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return what a Prometheus reads: (name, labels) -> value."""
    page, _ = exposition.rendered(together(sources), "text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_what_is_counted_is_shown_under_its_name_and_labels() -> None:
    meter = Meter()
    for _ in range(3):
        meter.add(names.REPAIRS, "edges")
    meter.add(names.REPAIRS, "words", by=0)
    found = shown(meter)
    assert found["trunkline_repairs_total", (("pipeline", "edges"),)] == 3
    assert found["trunkline_repairs_total", (("pipeline", "words"),)] == 0


def test_a_value_that_no_page_can_hold_costs_no_other_one() -> None:
    def source() -> list[Sample]:
        return [
            (names.REPAIRS, ("edges",), 10**400),
            (names.REPAIRS, ("words",), 2),
            (names.REPAIRS, ("most",), 10**308),
        ]

    found = shown(source, source)
    of = {
        labels[0][1]: value
        for (name, labels), value in found.items()
        if name.endswith("repairs_total")
    }
    assert of == {"words": 4, "most": float("inf")}


def test_buckets_add_up_to_the_count_and_a_bound_belongs_to_its_bucket() -> None:
    meter = Meter()
    for seconds in (0.001, 0.002, 0.3, 1e6):
        meter.buckets(names.REDISTRIBUTION).observe(seconds)
    found = shown(meter)

    def below(bound: str) -> float:
        return found["trunkline_redistribution_seconds_bucket", (("le", bound),)]

    assert [below(each) for each in ("0.001", "0.0025", "0.25", "0.5", "30.0", "+Inf")] == [
        *(1, 2, 2, 3, 3, 4)
    ]
    assert found["trunkline_redistribution_seconds_count", ()] == 4
    assert found["trunkline_redistribution_seconds_sum", ()] == 1e6 + 0.303


def test_only_so_many_pipelines_are_named_and_one_that_goes_makes_room() -> None:
    pipelines = Pipelines(most=2)
    assert [pipelines.name(each) for each in "abca"] == ["a", "b", REST, "a"]
    pipelines.forget("a")
    assert [pipelines.name(each) for each in "cda"] == ["c", REST, REST]


def test_series_of_a_pipeline_that_is_gone_end() -> None:
    meter = Meter()
    meter.add(names.DATUMS, "edges", "processed")
    meter.add(names.DATUMS, "words", "processed")
    meter.buckets(names.PHASE_SECONDS, "edges", "wait").observe(1)
    meter.add(names.RECONCILE_FAILURES, "coordinator")
    meter.forget("edges")
    assert [(metric.name, labels) for metric, labels, _ in meter()] == [
        ("trunkline_datums_total", ("words", "processed")),
        ("trunkline_reconcile_failures_total", ("coordinator",)),
    ]


def test_what_has_no_name_of_its_own_is_summed_and_of_ages_the_largest_counts() -> None:
    def source() -> list[Sample]:
        return [
            (names.WANT, (REST,), 2),
            (names.WANT, (REST,), 3),
            (names.JOB_QUIET, (REST,), 5),
            (names.JOB_QUIET, (REST,), 4),
        ]

    assert [value for *_, value in together([source])] == [5, 5]


def test_a_page_is_not_changed_by_what_is_counted_while_it_is_made() -> None:
    meter = Meter()
    buckets = meter.buckets(names.REDISTRIBUTION)
    buckets.observe(1)
    ((_, _, taken),) = together([meter])
    buckets.observe(1)
    assert isinstance(taken, Buckets)
    assert sum(taken.counts) == 1
