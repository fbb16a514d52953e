"""The process pool: real processes, forked, ended, killed and cleared away."""

import asyncio
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.support.processes import alive

from trunkline.local import pool_wire
from trunkline.local.home import Home
from trunkline.local.pool_client import PoolAwayError, PoolClient

ENTRIES = Path(__file__).parents[1] / "support" / "entries"


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        made = Home(Path(folder))
        made.make()
        yield made


class Pool:
    """A pool's process and a client of it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.events: list[pool_wire.Started | pool_wire.Exited] = []
        self.lost = 0
        self.client = PoolClient(home.pool_socket, self._told)
        self.process: asyncio.subprocess.Process | None = None
        self._changed = asyncio.Event()

    async def start(self, **environ: str) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "trunkline.local.pool"),
            env={
                **os.environ,
                "PYTHONPATH": str(ENTRIES),
                "TRUNKLINE_HOME": str(self.home.root),
                "TRUNKLINE_POOL_ENTRY": "pool_worker:run",
                **environ,
            },
        )

    async def ask(self, kind: Callable[..., pool_wire.Request], **fields: Any) -> pool_wire.Answer:
        """Ask, waiting for a pool that is not up yet."""
        while True:
            with contextlib.suppress(PoolAwayError):
                return await self.client.ask(lambda number: kind(id=number, **fields))
            await asyncio.sleep(0.02)

    async def create(self, name: str, **environ: str) -> pool_wire.Answer:
        environ = {f"TRUNKLINE_{key.upper()}": text for key, text in environ.items()}
        return await self.ask(pool_wire.Create, name=name, environ=environ)

    async def delete(self, name: str, grace_s: float = 10) -> pool_wire.Answer:
        return await self.ask(pool_wire.Delete, name=name, grace_s=grace_s)

    async def names(self) -> list[str]:
        return [each.name for each in (await self.ask(pool_wire.List)).workers]

    async def exited(self, name: str) -> pool_wire.Exited:
        while True:
            for event in self.events:
                if isinstance(event, pool_wire.Exited) and event.worker.name == name:
                    return event
            self._changed.clear()
            await self._changed.wait()

    async def told(self, name: str) -> dict[str, Any]:
        """Return what a worker wrote once it ran."""
        path = self.home.workers / name / "told.json"
        await until(path.exists)
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])

    def _told(self, event: pool_wire.Started | pool_wire.Exited | None) -> None:
        if event is None:
            self.lost += 1
        else:
            self.events.append(event)
        self._changed.set()


async def until(look: Callable[[], Any]) -> None:
    while not look():
        await asyncio.sleep(0.01)


@pytest.fixture
async def pool(home: Home) -> AsyncIterator[Pool]:
    made = Pool(home)
    async with asyncio.timeout(25), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(made.client.run())
        await made.start()
        try:
            yield made
        finally:
            following.cancel()
            assert made.process is not None
            if made.process.returncode is None:
                made.process.terminate()
                made.process.terminate()
            await made.process.wait()


async def test_a_worker_runs_with_all_imports_in_a_session_and_directory_of_its_own(
    pool: Pool,
) -> None:
    assert (await pool.create("w-0", pipeline="words")).code == ""
    told = await pool.told("w-0")
    assert told["loaded"]
    assert told["pid"] == told["sid"] != os.getsid(0)
    assert told["cwd"] == str(pool.home.workers / "w-0")
    assert told["environ"]["TRUNKLINE_PIPELINE"] == "words"
    assert told["environ"]["TRUNKLINE_HOME_DIR"] == told["cwd"]
    assert "TRUNKLINE_POOL_ENTRY" not in told["environ"]
    assert "PATH" in told["environ"]
    # stdin, stdout, stderr, and the directory that was being listed: nothing of the pool's
    assert len(told["open"]) == 4
    (listed,) = (await pool.ask(pool_wire.List)).workers
    assert (listed.name, listed.pid, listed.stopping) == ("w-0", told["pid"], False)


async def test_one_more_worker_costs_milliseconds(pool: Pool) -> None:
    await pool.names()
    took = []
    for number in range(20):
        began = time.monotonic()
        await pool.create(f"w-{number}")
        took.append((await pool.told(f"w-{number}"))["at"] - began)
    median_ms, most_ms = statistics.median(took) * 1e3, max(took) * 1e3
    print(f"one more worker: median {median_ms:.1f} ms, at most {most_ms:.1f} ms")
    assert statistics.median(took) < 0.5  # an import of what it needs takes longer than that
    for number in range(20):
        await pool.delete(f"w-{number}")
    for number in range(20):
        await pool.exited(f"w-{number}")


async def test_a_name_is_taken_until_its_worker_is_gone(pool: Pool) -> None:
    await pool.create("w-0", behaviour="stubborn")
    assert (await pool.create("w-0")).code == "exists"
    first = await pool.told("w-0")
    await pool.delete("w-0", grace_s=600)
    (stopping,) = (await pool.ask(pool_wire.List)).workers
    assert stopping.stopping
    assert (await pool.create("w-0")).code == "exists"
    os.kill(first["pid"], signal.SIGKILL)
    assert (await pool.exited("w-0")).signal == signal.SIGKILL
    assert (await pool.create("w-0")).code == ""
    assert (await pool.told("w-0"))["pid"] != first["pid"]


@pytest.mark.parametrize("name", ["", "../w", "a.b", "a/b", "x" * 64])
async def test_a_name_that_is_no_name_is_refused(pool: Pool, name: str) -> None:
    assert (await pool.create(name)).code == "invalid"


async def test_sigterm_comes_first_and_sigkill_after_the_grace(pool: Pool) -> None:
    await pool.create("soft")
    await pool.create("hard", behaviour="stubborn")
    await pool.told("soft")
    await pool.told("hard")
    await pool.delete("soft", grace_s=600)
    await pool.delete("hard", grace_s=0.2)
    assert (await pool.exited("soft")).signal == signal.SIGTERM
    hard = await pool.exited("hard")
    assert hard.signal == signal.SIGKILL
    assert hard.lived_s >= 0.2
    assert await pool.names() == []
    assert (await pool.delete("nobody")).code == ""


async def test_an_exit_is_told_with_its_code(pool: Pool) -> None:
    await pool.create("w-7", behaviour="exit")
    await pool.create("w-1", behaviour="raise")
    assert (await pool.exited("w-7")).exit_code == 7
    assert (await pool.exited("w-1")).exit_code == 1
    assert "on purpose" in (pool.home.logs / "workers" / "w-1.log").read_text()


async def test_what_a_killed_worker_had_started_goes_with_it(pool: Pool) -> None:
    await pool.create("w-0", behaviour="family")
    pid = (await pool.told("w-0"))["pid"]
    family = [child.pid for child in psutil.Process(pid).children()]
    assert len(family) == 2
    family.append(int((pool.home.workers / "w-0" / "away").read_text()))
    os.kill(pid, signal.SIGKILL)
    await pool.exited("w-0")
    await until(lambda: not any(alive(each) for each in family))
    await until(lambda: not list(pool.home.workers.iterdir()))  # also what was made unreadable


async def test_workers_outlive_their_client(pool: Pool) -> None:
    await pool.create("w-0")
    await pool.told("w-0")
    other = Pool(pool.home)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(other.client.run())
        assert await other.names() == ["w-0"]
        following.cancel()
    assert await pool.names() == ["w-0"]


async def test_a_pool_that_is_killed_takes_its_workers_along(pool: Pool) -> None:
    await pool.create("w-0")
    await pool.create("w-1", behaviour="stubborn")
    pids = [(await pool.told(name))["pid"] for name in ("w-0", "w-1")]
    assert pool.process is not None
    pool.process.kill()
    await pool.process.wait()
    await until(lambda: not any(alive(pid) for pid in pids))
    with pytest.raises(PoolAwayError):
        await pool.client.ask(lambda number: pool_wire.List(id=number))
    lost = pool.lost
    await pool.start()
    assert await pool.names() == []
    assert pool.lost > lost  # whoever follows was told to look again
    await until(lambda: not list(pool.home.workers.iterdir()))
    assert (await pool.create("w-0")).code == ""


async def test_a_pool_that_is_told_to_end_ends_its_workers(pool: Pool) -> None:
    await pool.create("w-0")
    pid = (await pool.told("w-0"))["pid"]
    assert pool.process is not None
    pool.process.terminate()
    assert await pool.process.wait() == 0
    assert not alive(pid)
    assert not pool.home.pool_socket.exists()


async def test_there_is_never_a_second_pool(pool: Pool) -> None:
    await pool.create("w-0")
    second = Pool(pool.home)
    await second.start()
    assert second.process is not None
    await asyncio.sleep(1.0)  # it waits for the first one to end, and touches nothing meanwhile
    assert await pool.names() == ["w-0"]
    second.process.kill()
    await second.process.wait()


async def test_a_client_that_talks_nonsense_is_hung_up_on(pool: Pool) -> None:
    await pool.names()
    for nonsense in (b"hello\n", b'{"type": "fork"}\n', b"x" * (2 << 20)):
        reader, writer = await asyncio.open_unix_connection(str(pool.home.pool_socket))
        writer.write(nonsense)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert await pool.names() == []


async def test_the_socket_is_the_users_alone(pool: Pool) -> None:
    await pool.names()
    assert pool.home.pool_socket.stat().st_mode & 0o777 == 0o600


async def test_a_socket_may_lie_at_the_end_of_a_long_path() -> None:
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        home = Home(Path(folder) / ("d" * 90) / "home")
        home.make()
        made = Pool(home)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            following = tasks.create_task(made.client.run())
            await made.start()
            assert await made.names() == []
            following.cancel()
            assert made.process is not None
            made.process.terminate()
            await made.process.wait()


async def test_a_log_that_grows_is_cut(pool: Pool) -> None:
    await pool.create("w-0", behaviour="print")
    await pool.told("w-0")
    log = pool.home.logs / "workers" / "w-0.log"
    # It is cut in two steps, so a look in between finds it empty.
    await until(lambda: log.read_text().startswith("... the beginning was cut off\ny"))
    assert log.stat().st_size < 4 << 20
