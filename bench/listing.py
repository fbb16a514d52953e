"""`python -m bench.listing`: what listing datums costs, by kind of input, and that memory stays flat.

Each run is a process of its own, which lists a job from manifests in a file store, with ids and
fingerprints as for a job, and does nothing with the datums. So what is measured is the listing alone:
CPU per datum, the time to the first one, and the peak of resident memory.

    cross   1,000 x 1,000 files
    join    so many pairs of files, by a group of the glob
    group   so many files, ten in each group
    pfs     so many files
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.listings import Commits, a_job, leaf

from bench import processes
from trunkline.contracts import spec
from trunkline.contracts.messages import File
from trunkline.coordinator.inputs import Inputs
from trunkline.storage import keys, manifests
from trunkline.storage.store import Store, open_store

SIZES = {
    "cross": (10_000, 1_000_000),
    "join": (10_000, 200_000),
    "group": (10_000, 200_000),
    "pfs": (10_000, 1_000_000),
}


@dataclass(frozen=True)
class Listed:
    """What came of one listing."""

    kind: str
    datums: int
    cpu_us: float
    """Per datum."""
    first_s: float
    """Until the first datum."""
    rss_mb: float
    """Peak."""


def main() -> None:
    """List each kind in two sizes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default=",".join(SIZES))
    parser.add_argument("--one", nargs=2, metavar=("KIND", "DATUMS"), help="in this process")
    asked = parser.parse_args()
    if asked.one:
        kind, datums = asked.one
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asdict(asyncio.run(listed(kind, int(datums), Path(folder))))))
        return
    print(f"{'kind':6} {'datums':>9} {'CPU us':>8} {'first s':>8} {'peak RSS MB':>12}")
    for kind in asked.kinds.split(","):
        for datums in SIZES[kind]:
            found = apart(kind, datums)
            told = f"{found.cpu_us:8.1f} {found.first_s:8.3f} {found.rss_mb:12.1f}"
            print(f"{kind:6} {found.datums:9} {told}", flush=True)


def apart(kind: str, datums: int) -> Listed:
    """Return what comes of a listing in a process of its own."""
    command = [sys.executable, "-m", "bench.listing", "--one", kind, str(datums)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Listed(**json.loads(done.stdout))


async def listed(kind: str, datums: int, folder: Path) -> Listed:
    """List a job of so many datums (a tenth of them, in a group) in this process."""
    store = open_store(f"file://{folder}/store")
    value, repos = _inputs(kind, datums)
    commits = Commits({repo: await _manifest(store, size) for repo, size in repos.items()})
    before = time.process_time()
    started, first, count = time.monotonic(), 0.0, 0
    inputs = Inputs(commits, store, folder)
    async with aclosing(inputs.datums(a_job(value), lambda _: True)) as found:
        async for some in found:
            first = first or time.monotonic() - started
            count += len(some)
    cpu_s = time.process_time() - before
    # not by `getrusage`: what that says is the peak of whoever started this process, too
    peak = processes.peak(os.getpid())
    return Listed(kind, count, cpu_s / count * 1e6, first, peak / 2**20)


def _inputs(kind: str, datums: int) -> tuple[spec.Input, dict[str, int]]:
    match kind:
        case "cross":
            side = round(datums**0.5)
            return spec.Input(cross=(leaf("a"), leaf("b"))), {"a": side, "b": side}
        case "join":
            arms = (leaf("a", "/(*)", join_on="$1"), leaf("b", "/(*)", join_on="$1"))
            return spec.Input(join=arms), {"a": datums, "b": datums}
        case "group":
            return spec.Input(group=(leaf("a", "/?(*)", group_by="$1"),)), {"a": datums}
        case _:
            return leaf("a"), {"a": datums}


async def _manifest(store: Store, size: int) -> str:
    return (await manifests.write(store, _files(size))).manifest


def _files(size: int) -> Iterator[File]:
    """Yield so many files, whose names but for the first letter ten have in common."""
    numbers = range(-(-size // 10))
    for letter, number in itertools.islice(itertools.product("abcdefghij", numbers), size):
        sha256 = f"{number:064x}"
        yield File(path=f"/{letter}{number:08}", size=1, sha256=sha256, object=keys.of(sha256))


if __name__ == "__main__":
    main()
