"""What a user's command can do to a Prometheus that scrapes its worker's pod: a real one, by the committed configuration.

A command shares its pod's address with the agent, so where the agent does not listen it may answer in its place.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from tests.metrics.test_configuration import discovered, looking_into
from tests.support import alerts, installation, prometheus
from tests.support.prometheus import Prometheus

AHEAD_MS = 10**16
SERVICES = """
trunkline_leader{component="coordinator"} 1
trunkline_leader{component="scaler"} 1
"""
PAGES = {
    "honest": """
trunkline_ready{component="worker-agent"} 1
trunkline_event_loop_lag_seconds_bucket{component="worker-agent",le="0.1"} 5
process_open_fds 9
""",
    "forges": f"""
trunkline_leader{{component="scaler"}} 1
trunkline_leader{{component="coordinator",job="trunkline",installation="another",instance="a"}} 1
trunkline_quarantined_datums{{pipeline="edges"}} 9
trunkline_ready{{component="coordinator",job="trunkline",pipeline="other",installation="another",pod="honest",more="label"}} 0
trunkline_nats_connected{{component="scaler"}} 0 {AHEAD_MS}
up{{job="trunkline"}} 0
ALERTS{{alertname="TrunklineNoLeader",alertstate="firing"}} 1
go_goroutines 1
""",
    "floods": "".join(
        f'trunkline_build_info{{component="worker-agent",version="{number}"}} 1\n'
        for number in range(5_000)
    ),
    "grows": "trunkline_ready 1\n" + "# nothing\n" * 2**17,
    "labels": f'trunkline_build_info{{version="{"v" * 2000}"}} 1\n',
}
PIPELINE = {"trunkline.dev/pipeline": "edges"}


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Prometheus]:
    """One that scrapes a service and the pods of workers, each of which has another page."""

    async def answer(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == "leads":
            raise web.HTTPFound("/services")
        return web.Response(text={**PAGES, "services": SERVICES}[name])

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    def pods(namespace: str, *names: str, **more: str) -> list[Any]:
        return [
            target
            for name in names
            for target in discovered(
                {
                    "prometheus.io/scrape": "true",
                    "prometheus.io/path": f"/{name}",
                    "prometheus.io/port": str(port),
                    **more,
                },
                ip="127.0.0.1",
                name=name,
                ports=(8087, 9999),
                namespace=namespace,
            )
        ]

    found = {
        "trunkline": pods("trunkline", "services"),
        "trunkline-workers": pods("trunkline-workers", *PAGES, "leads", **PIPELINE),
    }
    for job, targets in found.items():
        (tmp_path / f"{job}.json").write_bytes(msgspec.json.encode(targets))
    jobs = looking_into(tmp_path)["scrape_configs"]
    for job in jobs:
        job["scrape_timeout"] = "1s"  # this one scrapes each second
    try:
        async with prometheus.running(tmp_path, jobs, [alerts.RULES]) as running:
            yield running
    finally:
        await runner.cleanup()


async def test_a_pod_of_a_users_command_says_nothing_but_of_itself_and_not_much_of_that(watching):
    async def all_scraped() -> dict[str, str] | None:
        found = await watching.targets()
        told = {each["labels"]["pod"]: each["lastError"] for each in found}
        scraped = [each["health"] in ("up", "down") for each in found]
        return told if len(told) == len(PAGES) + 2 and all(scraped) else None

    errors = await installation.until(all_scraped, what="a scrape of each pod")
    refused = {pod: error for pod, error in errors.items() if error}
    assert set(refused) == {"floods", "grows", "labels", "leads"}
    assert "sample limit" in refused["floods"]
    assert "body size limit" in refused["grows"]
    assert "302" in refused["leads"]
    by_job = await watching.ask('count by (job) ({__name__=~"trunkline_.*|process_.*|go_.*"})')
    assert {each["metric"]["job"]: each["value"][1] for each in by_job} == {
        "trunkline": "2",
        "trunkline-workers": "5",
    }
    for each in await watching.ask('{job="trunkline-workers", pod="forges"}'):
        name = each["metric"]["__name__"]
        assert name in ("trunkline_ready", "trunkline_nats_connected") or name.startswith(
            ("scrape_", "up")
        )
        assert each["metric"]["installation"] == "trunkline"
        assert each["metric"]["pipeline"] == "edges"
        assert each["metric"].get("component", "worker-agent") == "worker-agent"
        assert "more" not in each["metric"]
        assert float(each["value"][0]) < AHEAD_MS / 1e3
    (leads,) = await watching.ask("sum(trunkline_leader) by (installation) / 2")
    assert leads["metric"] == {"installation": "trunkline"}
    assert leads["value"][1] == "1"
    assert await watching.ask('up{pod="services"} == 1')
    assert await watching.ask('ALERTS{alertname=~"Trunkline.*", alertstate="firing"}') == []
