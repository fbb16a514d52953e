"""A NATS server has stored as much as it is told that it may (`max_file_store`), which is not its disk."""

import asyncio
from pathlib import Path

import pytest
from tests.support.nats import TestServer

from trunkline.bus import topology
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, subjects
from trunkline.contracts.durability import Durability

pytestmark = [pytest.mark.nats, pytest.mark.timeout(60)]

JOBS = next(each for each in topology.CTL_BUCKETS if each.name == subjects.JOBS)
"""Has no bound of its own, which the server would hold back for it."""
COUNT = 40


async def allow(server: TestServer, path: Path, size: str) -> None:
    """Start it again with a limit: what a server does not change while it runs."""
    await server.kill()
    lines = path.read_text().splitlines()
    limit = f"  max_file_store: {size}"
    kept = [limit if "max_file_store" in each else each for each in lines]
    path.write_text("\n".join(kept) + "\n")
    await server.start()


async def test_at_its_limit_a_server_keeps_what_it_has_says_what_helps_and_goes_on_when_that_is_done(
    tmp_path: Path,
) -> None:
    server = TestServer(tmp_path)
    await server.start()
    config = server.files.config
    try:
        async with asyncio.timeout(50), server.connect("coordinator") as ctl:
            await topology.declare_bucket(ctl, JOBS, Durability.FILE, first=1)
            window, subject = Window(ctl), f"$KV.{subjects.JOBS}.p"
            for number in range(COUNT):
                await window.put(f"{subject}.{number}", b"x" * 60_000)
            await allow(server, config, "2MB")
            with pytest.raises(errors.UnavailableError, match="raise max_file_store"):
                await window.put(f"{subject}.more", b"y", timeout_s=5)
            async with asyncio.TaskGroup() as tasks:
                put = window.put(f"{subject}.more", b"y", timeout_s=40)
                waits = tasks.create_task(put, name="put")
                await allow(server, config, "1TB")
            assert waits.result().sequence == COUNT + 1
            stream = subjects.bucket_stream(subjects.JOBS)
            found = await ctl.scan(stream, f"{subject}.>")
            assert len(found) == COUNT + 1
    finally:
        await server.kill()
