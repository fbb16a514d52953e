"""`python -m bench.collecting`: what a collection costs by the objects that there are, and its memory.

Each run is a process of its own: a file store with so many objects of one byte, of which a commit needs
every other one, and the rest are old and go. Told are the CPU of the collection for each object, and how
much the peak of resident memory has grown over it.
"""

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.memory import tables

from bench import processes
from trunkline.contracts import api, records
from trunkline.contracts.messages import File
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.collecting import Collector
from trunkline.coordinator.retention import Retention
from trunkline.coordinator.settings import Settings
from trunkline.coordinator.tables import commit_key
from trunkline.runtime.clock import SystemClock
from trunkline.storage import keys, manifests
from trunkline.storage.store import open_store

SIZES = (20_000, 200_000)


@dataclass(frozen=True)
class Collected:
    """What came of one collection."""

    objects: int
    removed: int
    cpu_us: float
    """Per object."""
    seconds: float
    grown_mb: float
    """Of the peak of resident memory."""


def main() -> None:
    """Print a line for each size; with `--one`, make one run and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asdict(asyncio.run(collected(asked.one, Path(folder))))))
        return
    print(f"{'objects':>9} {'removed':>9} {'CPU us':>8} {'s':>7} {'grown MB':>9}")
    for size in asked.sizes.split(","):
        command = [sys.executable, "-m", "bench.collecting", "--one", size]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        found = Collected(**json.loads(done.stdout))
        told = f"{found.cpu_us:8.1f} {found.seconds:7.1f} {found.grown_mb:9.1f}"
        print(f"{found.objects:9} {found.removed:9} {told}", flush=True)


async def collected(objects: int, folder: Path) -> Collected:
    """Collect a store of so many objects in this process."""
    store, clock = open_store(f"file://{folder}/store"), SystemClock()
    written = await manifests.write(store, _files(folder / "store", objects))
    settings = Settings(ctl_url="", data_url="", data_key="", store="")
    catalog = Catalog(tables(), clock, local=True)
    await catalog.repos.create("in", records.Repo(name="in", created_ns=1))
    commit = records.Commit(
        id="a" * 32,
        repo="in",
        branch="master",
        manifest=written.manifest,
        files=written.files,
        size=written.size,
        created_ns=clock.wall_ns(),
    )
    await catalog.tables.commits.create(commit_key("in", commit.id), commit)
    retention = Retention(catalog, settings, clock)
    # there is no job, so nobody asks for outcomes
    collector = Collector(catalog, retention, None, store, settings, clock, folder)  # type: ignore[arg-type]
    peak, cpu_s, began = processes.peak(os.getpid()), time.process_time(), time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(collector.run(), name="collector")
        report = collector.start(api.Collect())
        while not report.ended_ns:
            await asyncio.sleep(0.01)
            assert collector.report is not None  # it was started
            report = collector.report
        running.cancel()
    cpu_s, seconds = time.process_time() - cpu_s, time.monotonic() - began
    grown = (processes.peak(os.getpid()) - peak) / 2**20
    return Collected(report.objects, report.removed, cpu_s / report.objects * 1e6, seconds, grown)


def _files(store: Path, objects: int) -> Iterator[File]:
    """Write so many old objects; yield every other one as a file."""
    for number in range(objects):
        sha256 = hashlib.sha256(b"%d" % number).hexdigest()
        path = store / keys.of(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
        if number % 2:
            yield File(path=f"/{number:09}", size=1, sha256=sha256, object=keys.of(sha256))


if __name__ == "__main__":
    main()
