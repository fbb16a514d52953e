"""What every alert must have; whether it fires when it should is for tests/metrics/test_alerts.py."""

import re

from tests.support import alerts

from trunkline.runtime import metric_names

_NAME = re.compile(r"\b(?:trunkline|nats|process)_[a-z_]+")
OF_TARGETS = {"installation"}
"""Labels that a scrape adds."""
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
        by = set(_labels(rule["expr"])) - OF_TARGETS
        assert {"pipeline", "component"} >= by, name
        for each in found:
            metric = metric_names.BY_NAME.get(_PART.sub("", each))
            assert metric is not None, (name, each)
            assert by & set(metric.labels), (name, each)


def test_alerts_tell_installations_apart_but_for_what_is_nowhere() -> None:
    for name, rule in alerts.rules().items():
        for labels in re.findall(r"by \(([^)]*)\)(?! \(absent)", rule["expr"]):
            assert labels.startswith("installation"), name


def test_alerts_ask_services_and_what_a_user_may_show_only_where_one_alone_decides_nothing() -> (
    None
):
    for name, rule in alerts.rules().items():
        jobs = re.findall(r'\{job="([^"]*)"', rule["expr"])
        asked = len(_NAME.findall(rule["expr"])) + len(re.findall(r"\bup\{", rule["expr"]))
        assert len(jobs) == asked, name
        if name == "TrunklineStoreErrors":
            assert "quantile by (installation, component, pipeline) (0.5, increase(" in rule["expr"]
            jobs.remove("trunkline-workers")
        assert set(jobs) == {"trunkline"}, name


def _labels(expr: str) -> list[str]:
    return [each for found in re.findall(r"by \(([^)]*)\)", expr) for each in found.split(", ")]
