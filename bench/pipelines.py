"""Very many specs at once: `python -m bench.pipelines [--counts 1000,3000,10000] [--way publish|api]`.

Each count has an installation of its own, with an input repo without a commit and specs of workers that
stand by, so that what is measured is the taking of specs and nothing else. All are published on the subject
without a pause, or asked for through the API by as many callers as it has places. Printed are the seconds until
each has its work queue and the scaler's record, CPU and peak memory of each service up to then, and how often and for how
long a service's `/readyz` said no, or nothing, meanwhile; the longest `list pipelines` and scrape meanwhile; and, with all
there, the seconds that a job of the last pipeline takes, which has an input of its own and no worker before.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import processes
from trunkline.bus import connection
from trunkline.bus.connection import NatsConnection
from trunkline.client import files
from trunkline.client.client import Client
from trunkline.contracts import api, errors, records, subjects
from trunkline.contracts.states import JobState
from trunkline.contracts.wards import Wards
from trunkline.local import server_files
from trunkline.local import stack as stacks

LAST = "last"
"""The repo that the last pipeline reads, and no other."""
CALLERS = 64
"""As many requests as a coordinator has in hand at once."""
SERVICES = ("coordinator", "scaler", "nats-server")
PROBED = ("coordinator", "scaler")
LOOK_S = 1.0
LOOK_AROUND_S = 5.0
"""Between two lists of all pipelines."""
JOB_WITHIN_S = 300.0


@dataclass
class Probed:
    """What a service's probe said."""

    asked: int = 0
    refused: int = 0
    longest_s: float = 0.0
    """Of an answer."""


@dataclass
class Measured:
    """One count."""

    count: int
    sent_s: float = 0.0
    registered_s: float = 0.0
    told_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)
    peak: dict[str, int] = field(default_factory=dict)
    list_s: float = 0.0
    """The longest listing of all pipelines meanwhile."""
    scrape_s: float = 0.0
    """The longest scrape meanwhile."""
    job_s: float = 0.0
    """From the commit on the last pipeline's input until its job has succeeded."""
    probes: dict[str, Probed] = field(default_factory=lambda: {each: Probed() for each in PROBED})


def name(number: int) -> str:
    """Return the name of one of the pipelines."""
    return f"p{number:05d}"


def spec(number: int, repo: str) -> bytes:
    """Return one of the specs."""
    document = {
        "pipeline": {"name": name(number)},
        "input": {"pfs": {"repo": repo, "glob": "/*"}},
        "transform": {"cmd": ["true"]},
        "parallelism_spec": {"constant": 1},
        "standby": True,
    }
    return json.dumps(document).encode()


async def publish(client: Client, count: int) -> None:
    """Publish all specs, the server's word on each awaited, by some callers."""
    await _each(count, client.publish_spec)


async def ask(client: Client, count: int) -> None:
    """Apply all specs through the API."""

    async def apply(text: bytes) -> None:
        await client.call("pipeline.apply", text, records.Pipeline, timeout_s=30.0)

    await _each(count, apply)


async def _each(count: int, do: Callable[[bytes], Awaitable[None]]) -> None:
    left = iter(range(count))

    async def caller() -> None:
        for number in left:
            await do(spec(number, LAST if number == count - 1 else "in"))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(caller(), name="caller")


async def probe(port: int, found: Probed) -> None:
    """Ask a service again and again whether it is ready."""
    while True:
        began = time.monotonic()
        found.asked += 1
        answer = b""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            answer = await reader.readline()
            writer.close()
        found.refused += b" 200 " not in answer
        found.longest_s = max(found.longest_s, time.monotonic() - began)
        await asyncio.sleep(LOOK_S / 2)


async def look(client: Client, ports: Sequence[int], found: Measured) -> None:
    """List all pipelines, and scrape, again and again."""
    while True:
        began = time.monotonic()
        async for _ in client.every("pipeline.list", api.PipelineView, page=100):
            pass
        found.list_s = max(found.list_s, time.monotonic() - began)
        for port in ports:
            began = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            await reader.read()
            writer.close()
            found.scrape_s = max(found.scrape_s, time.monotonic() - began)
        await asyncio.sleep(LOOK_AROUND_S)


async def one_job(client: Client, count: int) -> float:
    """Return the seconds in which the last pipeline has done a datum."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "one").write_bytes(b"1")
        commit = await files.put(client, LAST, "master", Path(folder))
    asked = api.JobNamed(pipeline=name(count - 1), id=commit.id)
    state: JobState | None = None
    async with asyncio.timeout(JOB_WITHIN_S):
        while state is not JobState.SUCCESS:
            await asyncio.sleep(LOOK_S / 20)
            with contextlib.suppress(errors.RequestRefusedError):  # the job is not made yet
                state = (await client.call("job.get", asked, records.Job)).state
    return time.monotonic() - began


async def work_queues(data: NatsConnection) -> int:
    """Return how many pipelines have their stream."""
    found = await data.js_api("STREAM.NAMES", {"subject": "trunkline.datums.>"})
    return int(found["total"])


async def told_of(ctl: NatsConnection) -> int:
    """Return of how many pipelines the scaler has told."""
    stream = subjects.bucket_stream(subjects.SCALING)
    return int((await ctl.js_api(f"STREAM.INFO.{stream}"))["state"].get("num_subjects", 0))


async def measure(count: int, way: str) -> Measured:
    """Measure one count."""
    found = Measured(count)
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        home, port = Path(folder) / "home", free_port()
        settings = {"TRUNKLINE_PROBE_PORT": str(port)}
        async with (
            stacks.running(home, nodes=2, port=0, settings=settings) as stack,
            stack.client() as client,
            watching(home) as (ctl, data),
            asyncio.TaskGroup() as tasks,
        ):
            for repo in ("in", LAST):
                await client.call("repo.create", api.RepoCreate(name=repo), records.Repo)
            before = {each: cpu_s(stack, each) for each in SERVICES}
            beside = [
                tasks.create_task(probe(port + number, found.probes[each]), name=f"probe-{each}")
                for number, each in enumerate(PROBED)
            ]
            ports = [port + number for number, _ in enumerate(PROBED)]
            beside.append(tasks.create_task(look(client, ports, found), name="look"))
            began = time.monotonic()
            await (publish if way == "publish" else ask)(client, count)
            found.sent_s = time.monotonic() - began
            while await work_queues(data) < count:
                await asyncio.sleep(LOOK_S)
            found.registered_s = time.monotonic() - began
            while await told_of(ctl) < count:
                await asyncio.sleep(LOOK_S)
            found.told_s = time.monotonic() - began
            for each in SERVICES:
                found.cpu_s[each] = cpu_s(stack, each) - before[each]
                found.peak[each] = processes.peak(stack.pids[each])
            for task in beside:
                task.cancel()
            found.job_s = await one_job(client, count)
    return found


@contextlib.asynccontextmanager
async def watching(home: Path) -> AsyncIterator[tuple[NatsConnection, NatsConnection]]:
    """Yield connections that see the buckets and the work queues."""
    known = server_files.Files(home / "nats").read()
    assert known is not None
    inbox, prefix = subjects.COORDINATOR_INBOX, subjects.data_api(Wards(known.data_key))
    url = known.url("coordinator-data")
    async with (
        connection.connect(known.url("coordinator"), name="bench", inbox=inbox) as ctl,
        connection.connect(url, name="bench-data", inbox=inbox, api=prefix) as data,
    ):
        yield ctl, data


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def cpu_s(stack: stacks.Stack, service: str) -> float:
    """Return the CPU time of a service."""
    return processes.own_cpu_s(stack.pids[service]) or 0.0


def line(found: Measured) -> str:
    """Return what is printed of a count."""
    cells = [
        f"{found.count:>7,} {found.sent_s:>7.1f} {found.registered_s:>10.1f} {found.told_s:>7.1f}"
    ]
    cells += [f"{found.cpu_s[each]:>8.1f} {found.peak[each] / 1e6:>5.0f}" for each in SERVICES]
    cells += [
        f"{each.refused}/{each.asked} {each.longest_s:.1f} s".rjust(15)
        for each in found.probes.values()
    ]
    cells.append(f"{found.list_s:>7.1f} {found.scrape_s:>8.2f} {found.job_s:>6.1f}")
    return " | ".join(cells)


async def run(counts: Sequence[int], way: str) -> None:
    """Print a line for each count."""
    head = [f"{'specs':>7} {'sent s':>7} {'registered':>10} {'told s':>7}"]
    head += [f"{each[:8]:>8} {'MB':>5}" for each in SERVICES]
    head += [f"{each[:8]} not ready" for each in PROBED]
    head.append(f"{'list s':>7} {'scrape s':>8} {'job s':>6}")
    print(" | ".join(head), flush=True)
    for count in counts:
        print(line(await measure(count, way)), flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1000,3000,10000")
    parser.add_argument("--way", choices=("publish", "api"), default="publish")
    asked = parser.parse_args()
    asyncio.run(run([int(each) for each in asked.counts.split(",")], asked.way))


if __name__ == "__main__":
    main()
