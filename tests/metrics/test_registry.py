"""The registry of metrics, against all that a real run has shown: nothing is missing, nothing else is there."""

import pytest
from tests.metrics.test_expressions import MAY_BE_EMPTY, RUN_S, empty
from tests.support import prometheus

from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import WORKER, Kind

OURS = '{__name__=~"trunkline_.+|nats_.+"}'
OF_TARGETS = {"installation", "instance", "job", "process"}
"""Labels that a scrape adds."""


def whole(name: str) -> str:
    """Return the metric that a series is of, or a part of."""
    for part in ("_bucket", "_sum", "_count"):
        metric = names.BY_NAME.get(name.removesuffix(part))
        if name.endswith(part) and metric is not None and metric.kind is Kind.HISTOGRAM:
            return metric.name
    return name


async def test_every_metric_is_shown_by_somebody(run):
    """But for those of agents in pods: on one machine a worker has no port."""
    wanted = [each for each in names.ALL if set(each.components) != {WORKER}]
    exprs = {
        each.name: f"last_over_time({each.name}{'_count' if each.kind is Kind.HISTOGRAM else ''}[{RUN_S}])"
        for each in wanted
        if each.name not in MAY_BE_EMPTY
    }
    assert await empty(run, exprs) == {}


async def test_nothing_is_shown_that_is_not_in_the_registry_nor_by_other_labels(run):
    found = await run.prometheus.ask(f"count by (__name__) ({OURS})")
    assert {whole(each["metric"]["__name__"]) for each in found} <= set(names.BY_NAME)
    for series in await run.prometheus.ask(OURS):
        name = series["metric"].pop("__name__")
        labels = set(series["metric"]) - OF_TARGETS
        if name.endswith("_bucket"):
            labels.discard("le")
        assert labels == set(names.BY_NAME[whole(name)].labels), name


async def test_an_expression_that_is_none_or_gives_nothing_is_found(run):
    """What these tests rest on."""
    with pytest.raises(prometheus.RefusedError):
        await run.prometheus.ask("sum(trunkline_datums_total")
    nothing = {
        "wrong": 'trunkline_datums_total{state="PROCESSED"}',
        "right": "trunkline_datums_total",
    }
    assert set(await empty(run, nothing)) == {"wrong"}
