"""The rules that every metric keeps."""

import re

from trunkline.runtime import metric_names
from trunkline.runtime.metrics import Kind

_UNBOUNDED = {"job", "datum", "worker", "index", "commit", "node", "instance", "service"}


def test_no_two_metrics_have_one_name() -> None:
    assert len(metric_names.BY_NAME) == len(metric_names.ALL)


def test_names_and_units_are_as_prometheus_has_them() -> None:
    for each in metric_names.ALL:
        assert re.fullmatch(r"(trunkline|nats_stream|nats_consumer)_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind is Kind.COUNTER), each.name
        assert not re.search(r"_(ms|milliseconds|kb|mb|minutes|hours)(_|$)", each.name)
        base = each.name.removesuffix("_total")
        assert base.endswith(each.unit) or each.unit not in ("seconds", "bytes"), each.name


def test_a_metric_says_what_it_is_and_who_has_it() -> None:
    for each in metric_names.ALL:
        assert each.help.endswith("."), each.name
        assert each.components, each.name


def test_no_label_has_more_values_the_longer_an_installation_lives() -> None:
    for each in metric_names.ALL:
        assert not _UNBOUNDED & set(each.labels), each.name


def test_histograms_and_only_they_have_rising_buckets() -> None:
    for each in metric_names.ALL:
        assert bool(each.buckets) == (each.kind is Kind.HISTOGRAM), each.name
        assert list(each.buckets) == sorted(set(each.buckets)), each.name
