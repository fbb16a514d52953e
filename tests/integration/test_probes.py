"""What a kubelet asks each service: whether it lives, and whether it can do its work."""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from tests.support import workers
from tests.support.nats import TestServer
from tests.support.wards import DATA_KEY, ward

from trunkline.bus.connection import NatsConnection
from trunkline.contracts import api, errors, subjects
from trunkline.local import server_files
from trunkline.local.home import Home
from trunkline.runtime import metric_names, probes
from trunkline.runtime.showing import Shown


async def ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.json()


async def scraped(port: int, accept: str = "") -> tuple[str, str]:
    """Return what a process shows, and in which form."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}) as answer,
    ):
        assert answer.status == 200
        return await answer.text(), answer.headers["Content-Type"]


async def shown(port: int, line: str) -> str:
    """Return what a process shows once that is in it."""
    async with asyncio.timeout(20):
        while line not in (text := (await scraped(port))[0]):
            await asyncio.sleep(0.05)
    return text


INPUT = {"pfs": {"repo": "in", "glob": "/*"}}


async def test_a_process_lives_from_its_start_and_is_ready_once_it_says_so() -> None:
    readiness = probes.Readiness()
    async with probes.served("127.0.0.1", 0, readiness) as port:
        assert port is not None
        assert await ask(port, "/livez") == (200, {"live": True})
        assert await ask(port, "/readyz") == (503, {"ready": False, "reasons": ["it is starting"]})
        reasons = ["NATS is away"]
        readiness.judge_by(lambda: reasons)
        assert await ask(port, "/readyz") == (503, {"ready": False, "reasons": reasons})
        reasons.clear()
        assert await ask(port, "/readyz") == (200, {"ready": True, "reasons": []})
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(port, "/livez")


async def test_metrics_come_as_text_or_as_openmetrics_from_a_socket_that_others_have_opened() -> (
    None
):
    readiness = probes.Readiness()
    shown = Shown("coordinator", lambda: readiness.reasons)
    opened = socket.create_server(("127.0.0.1", 0))
    at = opened.getsockname()[1]
    async with (
        probes.served("", None, readiness, shown, fd=opened.detach()) as port,
        shown.about(lambda: [(metric_names.NODES, (), 3.0)]),
    ):
        assert port == at
        text, kind = await scraped(at)
        assert kind.startswith("text/plain")
        assert 'trunkline_ready{component="coordinator"} 0.0' in text
        assert "trunkline_nodes 3.0" in text
        text, kind = await scraped(
            at, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
        )
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")
        families = {each.name for each in openmetrics.text_string_to_metric_families(text)}
        assert {"trunkline_nodes", "trunkline_nats_reconnects"} <= families


async def test_who_serves_no_probes_does_not_pay_for_the_library() -> None:
    script = """
import asyncio, sys
from trunkline.runtime import probes
async def main():
    async with probes.served("127.0.0.1", None, probes.Readiness()) as port:
        assert port is None
asyncio.run(main())
assert "aiohttp" not in sys.modules
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await process.wait() == 0


class Process:
    """A service with probes, on a port of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def until(self, ready: bool, saying: str = "") -> None:
        """Return once it is ready, or says why not."""
        async with asyncio.timeout(40):
            while True:
                try:
                    status, said = await ask(self.port, "/readyz")
                except aiohttp.ClientConnectionError:
                    status, said = 0, {}
                if said and said["ready"] is ready and saying in " ".join(said["reasons"]):
                    assert status == (200 if ready else 503)
                    assert (await ask(self.port, "/livez"))[0] == 200
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def started(*command: str, **environ: str) -> AsyncIterator[Process]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**os.environ, "TRUNKLINE_PROBE_PORT": str(port), **environ},
    )
    try:
        yield Process(port)
    finally:
        process.kill()
        await process.wait()


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def urls(server: TestServer, role: str) -> dict[str, str]:
    return {
        "TRUNKLINE_CTL_URL": server.url(role),
        "TRUNKLINE_DATA_URL": server.url(f"{role}-data"),
        "TRUNKLINE_DATA_KEY": DATA_KEY,
    }


def forbid(server: TestServer, *needed: str) -> None:
    """Have the server refuse these subjects to everybody: its configuration is not what we make."""
    files = server_files.Files(server.directory).server()
    text = files.config.read_text()
    for subject in needed:
        assert subject in text
        text = text.replace(f'"{subject}"', '"nothing"')
    files.config.write_text(text)
    assert server.reload()


async def answered(user: NatsConnection, verb: str, body: dict[str, Any]) -> None:
    """Return once a request is answered: a server that reads its configuration anew closes connections."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(errors.UnavailableError):
                await user.request(subjects.api(verb), msgspec.json.encode(body), timeout_s=20)
                return
            await user.until_connected()


async def test_a_coordinator_is_ready_while_it_can_do_its_work_in_both_accounts(
    nats_server: TestServer, tmp_path: Path
) -> None:
    environ = {**urls(nats_server, "coordinator"), "TRUNKLINE_STORE": f"file://{tmp_path}"}
    await nats_server.kill()
    async with started("-m", "trunkline.coordinator", **environ) as coordinator:
        await coordinator.until(ready=False, saying="it is starting")
        await nats_server.start()
        await coordinator.until(ready=True)
        await nats_server.kill()
        await coordinator.until(ready=False, saying="coordinator-data has no connection")
        text = await shown(coordinator.port, 'trunkline_leader{component="coordinator"} 0.0')
        assert 'trunkline_nats_connected{component="coordinator"} 0.0' in text
        assert 'trunkline_pipelines{state="RUNNING"} 0.0' in text
        await nats_server.start()
        await coordinator.until(ready=True)
        forbid(nats_server, subjects.ASSIGNMENTS)
        async with nats_server.connect("user") as user:
            spec = {"pipeline": {"name": "p"}, "transform": {"cmd": ["true"]}, "input": INPUT}
            for verb, body in (("repo.create", {"name": "in"}), ("pipeline.apply", spec)):
                await answered(user, verb, body)
            await coordinator.until(ready=False, saying="NATS has refused")
            answer = await user.request(subjects.api("status"), b"")
        status = msgspec.json.decode(
            msgspec.json.decode(answer.data, type=api.Reply).result, type=api.Status
        )
        assert status.ready is False
        assert "coordinator-data" in status.problems[0]


async def test_a_scaler_is_ready_while_it_sees_its_cluster_and_both_accounts(
    nats_server: TestServer,
) -> None:
    await nats_server.declare()
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        home = Home(Path(folder))
        home.make()
        place = {"TRUNKLINE_HOME": folder, "TRUNKLINE_STORE": home.store_url}
        environ = {**urls(nats_server, "scaler"), **place}
        async with started("-m", "trunkline.local.scaler", **environ) as scaler:
            await scaler.until(ready=False, saying="process pool")
            async with started("-m", "trunkline.local.pool", **place):
                await scaler.until(ready=True)
                forbid(nats_server, subjects.CONTROL)
                forbid(nats_server, subjects.CLAIMS)
                await scaler.until(ready=False, saying="refused")


async def test_a_workers_agent_is_ready_while_it_reaches_its_account(
    nats_server: TestServer,
) -> None:
    async with workers.lab(nats_server) as lab:
        ticket = await lab.shell("true")
        port = free_port()
        await lab.worker("w1", ticket, probe_port=port)
        worker = Process(port)
        await worker.until(ready=True)
        await nats_server.kill()
        await worker.until(ready=False, saying="w1 has no connection")
        await nats_server.start()
        await worker.until(ready=True)
        forbid(nats_server, subjects.claims_of(ward(workers.PIPELINE)))
        await worker.until(ready=False, saying="refused")
