"""Who shows what: the targets of a run, one by one, as Prometheus has scraped them."""

import re

from tests.metrics.test_registry import OF_TARGETS

from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import EVERYBODY, Whose

_ID = re.compile(r"[0-9a-f]{16,}")


async def test_who_stands_by_shows_itself_and_nothing_of_the_installation(run):
    found = await run.prometheus.ask("trunkline_leader == 0")
    assert {each["metric"]["component"] for each in found} == {"coordinator", "scaler"}
    for each in found:
        target = each["metric"]["instance"]
        series = await run.prometheus.ask(
            f'{{instance="{target}", __name__=~"(trunkline|nats)_.*"}}'
        )
        shown = {re.sub(r"_(bucket|sum|count)$", "", one["metric"]["__name__"]) for one in series}
        assert {names.BUILD.name, names.NATS_CONNECTED.name, names.LOOP_LAG.name} <= shown
        assert {
            metric.name for metric in names.ALL if metric.whose is Whose.LEADER
        } & shown == set()


async def test_all_is_said_to_be_of_the_installation_that_it_is_of(run):
    (found,) = await run.prometheus.ask(
        'count by (installation) ({__name__=~"(trunkline|nats)_.*"})'
    )
    assert found["metric"] == {"installation": str(run.here.home)}


async def test_all_that_is_shown_is_in_the_registry_with_those_labels(run):
    series = await run.prometheus.ask('{__name__=~"(trunkline|nats)_.*"}')
    assert len(series) > 300
    for each in series:
        name = re.sub(r"_(bucket|sum|count)$", "", each["metric"]["__name__"])
        metric = names.BY_NAME[name if name in names.BY_NAME else each["metric"]["__name__"]]
        labels = set(each["metric"]) - {"__name__", "le", *OF_TARGETS}
        assert labels == set(metric.labels), name
        assert each["metric"].get("component", EVERYBODY[0]) in EVERYBODY
        assert not any(_ID.search(text) for text in each["metric"].values()), each["metric"]
