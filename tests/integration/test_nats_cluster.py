"""What a connection, a declaration and the reaper's ears need of three servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.support import nats
from tests.support.nats_cluster import TestCluster
from tests.support.wards import WARDS, ward

from trunkline.bus import backlog, topology, watching
from trunkline.bus.connection import NatsConnection, connect
from trunkline.bus.newest import Newest
from trunkline.bus.ports import Message
from trunkline.bus.publishing import Window
from trunkline.contracts import errors, subjects
from trunkline.contracts.durability import Durability
from trunkline.scaler import hearing

pytestmark = pytest.mark.nats

COORDINATOR = subjects.COORDINATOR_INBOX
JOBS = subjects.bucket_stream(subjects.JOBS)
COUNT = 300


@pytest.fixture
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestCluster]:
    """Yield three servers of a test's own, each of which can be cut off from the others."""
    async with nats.running(
        lambda: TestCluster(tmp_path_factory.mktemp("nats"), lines=True)
    ) as made:
        yield made


async def copies(connection: NatsConnection, stream: str) -> tuple[int, int]:
    """Return how many copies a stream is to have, and how many are up to date."""
    info = await connection.js_api(f"STREAM.INFO.{stream}", timeout_s=30)
    others = info["cluster"].get("replicas") or ()
    return info["config"]["num_replicas"], 1 + sum(bool(each.get("current")) for each in others)


async def test_streams_that_are_there_get_the_copies_that_are_stated_now(
    nats_cluster: TestCluster,
) -> None:
    async with (
        nats_cluster.connect("coordinator") as ctl,
        nats_cluster.connect("coordinator-data") as data,
    ):
        await _declared(ctl, data, Durability.FILE)
        await topology.ensure_job_consumer(
            data, ward("p1"), "0" * 32, ack_wait_s=5, max_ack_pending=9
        )
        bucket = subjects.bucket_stream(subjects.PIPELINES)
        queue = subjects.datums_stream("p1")
        subject = subjects.datums(ward("p1"), "0" * 32)
        before = await Window(data).put(subject, b"x")
        assert await copies(ctl, bucket) == await copies(data, queue) == (1, 1)

        await _declared(ctl, data, Durability.REPLICATED)
        async with asyncio.timeout(30):
            while await copies(ctl, bucket) != (3, 3) or await copies(data, queue) != (3, 3):
                await asyncio.sleep(0.05)
        gauge = await backlog.gauge(data, "p1", "0" * 32)
        assert gauge is not None
        assert gauge.pending == 1
        assert (await Window(data).put(subject, b"x")).sequence == before.sequence + 1


async def test_the_reaper_hears_of_workers_at_whichever_server_they_are(
    nats_cluster: TestCluster,
) -> None:
    urls = (await nats_cluster.issuer.worker_url("p1")).split(",")
    here = nats_cluster.url("scaler-data", server=1)
    heard: asyncio.Queue[hearing.ClientEvent] = asyncio.Queue()

    async def take(message: Message) -> None:
        event = hearing.client_event(message)
        assert event is not None
        if event.key is not None:
            heard.put_nowait(event)

    async with (
        asyncio.timeout(60),
        connect(here, name="scaler", inbox=subjects.SCALER_INBOX) as scaler,
    ):
        await scaler.serve(subjects.disconnects(WARDS), take)
        for number, url in enumerate(urls):
            name = f"w{number}"
            async with connect(url, name=name, inbox=subjects.worker_inbox(ward("p1"), name)):
                pass
            assert (await heard.get()).key == ("p1", name)


async def test_who_is_at_a_server_that_is_cut_off_says_so_and_goes_to_another(
    cluster: TestCluster,
) -> None:
    async with (
        asyncio.timeout(80),
        asyncio.TaskGroup() as tasks,
        cluster.connect("coordinator-data") as data,
    ):
        await _eventually(lambda: topology.declare_data(data, Durability.REPLICATED))
        watch = tasks.create_task(watching.watch(data, "STREAM.NAMES"), name="watch")
        first = at(cluster, data)
        cluster.cut(first)
        while not any("JetStream does not answer" in each for each in data.problems):
            await asyncio.sleep(0.05)
        while at(cluster, data) == first or data.problems:
            await asyncio.sleep(0.05)
        await topology.declare_data(data, Durability.REPLICATED)
        cluster.mend()
        watch.cancel()


async def test_what_a_server_has_missed_is_waited_for_by_who_reads_the_newest(
    cluster: TestCluster,
) -> None:
    """A copy that is behind answers direct gets: the record of a job that has ended says it works.

    1. A server that leads nothing of it is cut off, and has a record as it was.
    2. It is changed, and others are stored, at the two that are left.
    3. A direct get at the one says what was; who reads the newest hears it once it is there.
    """
    async with (
        asyncio.timeout(80),
        connect(cluster.url("coordinator", server=1), name="c", inbox=COORDINATOR) as ctl,
    ):
        await _eventually(lambda: topology.declare_ctl(ctl, Durability.REPLICATED))
        led = (await ctl.js_api(f"STREAM.INFO.{JOBS}"))["cluster"]["leader"]
        number = next(each for each in (2, 3) if f"nats-{each}" != led)
        where = cluster.url("auditor", server=number)
        async with connect(where, name="a", inbox=subjects.AUDITOR_INBOX) as behind:
            await _behind(cluster, number, Window(ctl), behind)


async def _behind(cluster: TestCluster, number: int, window: Window, there: NatsConnection) -> None:
    """Have a server miss something that who asks there wants to know."""
    root = f"$KV.{subjects.JOBS}.p"
    await window.put(f"{root}.0", b"works", timeout_s=60)
    while await there.last(JOBS, f"{root}.0") is None:
        await asyncio.sleep(0.05)
    cluster.cut(number)
    for each in reversed(range(COUNT)):
        await window.put(f"{root}.{each}", b"ended", timeout_s=60)
    old = await there.last(JOBS, f"{root}.0")
    assert old is not None
    assert old.data == b"works"
    newest = Newest(there)
    async with asyncio.TaskGroup() as tasks:
        last = tasks.create_task(newest.last(JOBS, f"{root}.0"), name="last")
        scan = tasks.create_task(newest.scan(JOBS, f"{root}.>"), name="scan")
        cluster.mend()
    stored = last.result()
    assert stored is not None
    assert stored.data == b"ended"
    assert [each.data for each in scan.result()] == [b"ended"] * COUNT


def at(cluster: TestCluster, connection: NatsConnection) -> int:
    """Return the number of the server that a connection is at."""
    url = connection._wire.connected_url
    return 0 if url is None else 1 + cluster.credentials.ports.index(url.port)


async def _declared(ctl: NatsConnection, data: NatsConnection, level: Durability) -> None:
    """Declare all, as often as the coordinator would do it."""
    async with asyncio.timeout(60):
        await _eventually(lambda: topology.declare_ctl(ctl, level))
        await _eventually(lambda: topology.declare_data(data, level))
        await _eventually(lambda: topology.declare_pipeline(data, ward("p1"), level))


async def _eventually(act: Callable[[], Awaitable[object]]) -> None:
    """Do it once the cluster has a leader."""
    while True:
        with contextlib.suppress(errors.UnavailableError):
            await act()
            return
