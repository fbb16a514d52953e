"""What every alert must have; whether it fires when it should is for tests/metrics/test_alerts.py."""

import re

from tests.support import alerts

from trunkline.runtime import metric_names

_NAME = re.compile(r"\b(?:trunkline|nats|process)_[a-z_]+")
_PART = re.compile(r"_(bucket|sum|count)$")


def test_each_alert_says_what_is_wrong_and_how_bad_that_is() -> None:
    for name, rule in alerts.rules().items():
        assert re.fullmatch(r"Trunkline[A-Za-z]+", name)
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["description"].endswith("."), name


def test_each_alert_has_a_section_in_the_runbook_and_each_section_an_alert() -> None:
    page = (alerts.ROOT / "docs" / "operations.md").read_text()
    sections = re.findall(r"^### (Trunkline\w+)$", page, re.MULTILINE)
    assert sections == list(alerts.rules())
    for name, rule in alerts.rules().items():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"


def test_alerts_ask_for_metrics_that_there_are_and_for_labels_that_these_have() -> None:
    for name, rule in alerts.rules().items():
        if rule["expr"].startswith("up{"):  # Prometheus' own, of each target
            continue
        found = _NAME.findall(rule["expr"])
        assert found, name
        for each in found:
            metric = metric_names.BY_NAME.get(_PART.sub("", each))
            assert metric is not None, (name, each)
            by = re.findall(r"by \((\w+)\)", rule["expr"])
            assert {"pipeline", "component"} >= set(by), name
            assert set(by) & set(metric.labels), (name, each)
