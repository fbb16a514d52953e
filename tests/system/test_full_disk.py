"""The disk of the NATS server is full for a while, in the middle of a job: nothing is lost, and all goes on by itself."""

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import gates, installation
from tests.support.gates import Gate
from tests.support.installation import until

from trunkline.contracts import api

pytestmark = [pytest.mark.nats, pytest.mark.timeout(300)]

DATUMS = 300


def spec(home: Path) -> dict[str, Any]:
    """Return the pipeline; from the hundredth on its datums wait at the gate of their job."""
    return {
        "pipeline": {"name": "copies"},
        "input": {"pfs": {"repo": "in", "glob": "/*"}},
        "transform": {
            "cmd": ["sh"],
            "stdin": [gates.of_job(home, "*/[12]??"), "cp /pfs/in/* /pfs/out"],
        },
        "parallelism_spec": {"constant": 2},
    }


@contextlib.contextmanager
def small_disk(home: Path) -> Iterator[None]:
    """Mount a file system of its own for the server; skip the test where we may not."""
    path = home / "nats"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Write a file until there is no room."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, b"\0" * 4096)
    os.close(descriptor)


async def test_a_full_disk_costs_a_job_time_and_nothing_else() -> None:
    """1. A job has outcomes. 2. The server's disk is full until the server refuses to store. 3. There is room again,
    which the server itself would never take note of: it is started again, and the job ends exact.
    """
    async with installation.running(nodes=2, disk=small_disk) as here:
        await here.repo("in")
        await here.apply(spec(here.home))
        commit = await here.put("in", {f"{n:03}": b"%d" % n for n in range(DATUMS)})
        await here.listed("copies", commit, 30)
        log = here.home / "logs" / "nats-server.log"
        fill(here.home / "nats" / "ballast")
        Gate(here.home / commit).open()

        async def refuses() -> bool:
            return "critical write error" in log.read_text()

        await until(refuses, what="the server's word that the disk is full")
        starts = here.stack.starts("nats-server")
        (here.home / "nats" / "ballast").unlink()
        await here.stack.restarted("nats-server", after=starts)
        job = await here.succeeded("copies", commit, within_s=120)
        assert job.counts.processed == DATUMS
        assert await here.content("copies") == {
            f"/{n:03}": hashlib.sha256(b"%d" % n).hexdigest() for n in range(DATUMS)
        }
        assert (await here.client.call("status", None, api.Status)).services
