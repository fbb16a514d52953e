"""Every expression of every panel and alert, asked of a real Prometheus that has scraped a real run."""

import asyncio

from tests.support import alerts, dashboards, watched
from tests.support.watched import Watched

from trunkline.runtime import metric_names as names

WITHIN_S = 30.0
RUN_S = "120s"
"""Longer than the run: what has happened at all is in it."""

MAY_BE_EMPTY = {
    names.KUBERNETES_REQUESTS.name: "there is no Kubernetes here",
}
"""Metrics that a run on one machine need not have, and why."""


def asked() -> dict[str, str]:
    """Return each panel's expressions, as Grafana sends them."""
    return {
        f"{uid}: {panel['title']} {query['refId']}": dashboards.sent(
            query["expr"],
            rate=RUN_S,
            shown=RUN_S,
            pipeline="thumbnails" if uid.endswith("pipeline") else ".*",
        )
        for uid, board in dashboards.read().items()
        for panel in dashboards.panels(board)
        for query in panel["targets"]
    }


async def empty(run: Watched, exprs: dict[str, str]) -> dict[str, str]:
    """Return those that give no series."""
    return {who: expr for who, expr in exprs.items() if not await run.prometheus.ask(expr)}


async def test_every_panel_shows_something_of_a_run_in_which_everything_happens(run):
    exprs = {
        who: expr
        for who, expr in asked().items()
        if not dashboards.metrics(expr) & MAY_BE_EMPTY.keys()
    }
    assert len(exprs) > 80
    left = exprs
    try:
        async with asyncio.timeout(WITHIN_S):
            while left := await empty(run, left):
                await asyncio.sleep(0.5)
    except TimeoutError:
        assert left == {}, "these are empty"


async def test_what_may_be_empty_is_a_question_that_can_be_asked(run):
    exprs = {
        who: expr for who, expr in asked().items() if dashboards.metrics(expr) & MAY_BE_EMPTY.keys()
    }
    for expr in exprs.values():
        await run.prometheus.ask(expr)


async def test_every_alert_asks_of_metrics_that_are_there(run):
    """An alert gives nothing as long as all is well, so what it asks is asked here: of each of its metrics."""
    for name, rule in alerts.rules().items():
        await run.prometheus.ask(rule["expr"])
        for metric in dashboards.metrics(rule["expr"]) - MAY_BE_EMPTY.keys():
            ever = f"last_over_time({metric}[{RUN_S}])"
            assert await run.prometheus.ask(ever), (name, metric)


async def test_the_alert_fires_that_this_run_is_a_reason_for(run):
    firing = 'sum by (pipeline) (ALERTS{alertname="TrunklineQuarantined", alertstate="firing"})'
    await agrees(run, firing, 1)


async def test_all_processes_are_scraped_without_an_error(run):
    found = await run.prometheus.targets()
    assert [
        (each["scrapeUrl"], each["lastError"]) for each in found if each["health"] != "up"
    ] == []
    assert len(found) == watched.SERVICES


async def test_figures_are_those_that_the_installation_tells(run):
    """What is counted on the way is what the records say in the end."""
    jobs = [job for spec in watched.SPECS for job in await run.here.jobs(spec["pipeline"]["name"])]
    for state in ("processed", "skipped", "failed", "quarantined"):
        told = sum(getattr(job.counts, state) for job in jobs)
        assert told, f"a run with nothing {state} shows nothing of that"
        counted = f'sum(trunkline_datums_total{{state="{state}"}})'
        await agrees(run, counted, told)
    await agrees(run, "sum(trunkline_jobs_ended_total)", len(jobs))
    await agrees(run, "sum(trunkline_leader)", 2)
    await agrees(run, 'max(trunkline_workers_ready{pipeline="thumbnails"})', watched.NODES)


async def agrees(run: Watched, expr: str, told: float) -> None:
    """Wait until an expression gives a value, or fail with what it gives instead."""
    found: list[float] = []
    try:
        async with asyncio.timeout(WITHIN_S):
            while found != [told]:
                found = [float(each["value"][1]) for each in await run.prometheus.ask(expr)]
                await asyncio.sleep(0.2)
    except TimeoutError:
        assert found == [told], expr
