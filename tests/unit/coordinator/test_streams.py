"""Ages of what waits in more queues than are looked at in one go."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from tests.support.job_records import job_record
from tests.support.wards import WARDS

from trunkline.bus import jetstream
from trunkline.contracts import records
from trunkline.contracts.states import JobState
from trunkline.coordinator.core.rota import Rota
from trunkline.coordinator.streams import QUEUES, Streams
from trunkline.runtime import metric_names as names
from trunkline.runtime.metrics import REST, Metric, Pipelines, together

pytestmark = pytest.mark.looptime

BEGAN_S = 1_700_000_000.0
_BEGAN = "2023-11-14T22:13:20Z"
"""The same."""
SCRAPED_S = 15.0
ALERT_AFTER_S = 300.0
"""For how long an age may be missing before an alert on it has missed its time for good."""


def test_each_has_its_turn_and_a_new_one_is_the_next() -> None:
    rota, there = Rota(), [f"p{number}" for number in range(100)]
    goes = [rota.next(there, 25) for _ in range(4)]
    assert {each for go in goes for each in go} == set(there)
    assert rota.next([*there, "new"], 1) == ["new"]
    first = goes[0]
    assert set(rota.next(there, 20)) < set(first)  # it was looked at longest ago


def test_who_is_gone_takes_nobodys_turn() -> None:
    rota = Rota()
    assert sorted(rota.next(["a", "b"], 5)) == ["a", "b"]
    assert rota.next(["b"], 5) == ["b"]
    assert rota.next([], 5) == []


class Looptime:
    """The loop's own time."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ns(self) -> int:
        return int((BEGAN_S + self.monotonic_s()) * 1e9)


class Server:
    """Answers as a server does in which one pipeline's datum waits since the beginning, and no other's."""

    def __init__(self, late: str) -> None:
        self._late = late
        self.asked = 0

    async def js_api(self, verb: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.asked += 1
        if verb.startswith("CONSUMER.INFO."):
            pending = int(f"TL_DATUMS_{self._late}." in verb)
            at = {"consumer_seq": 0, "stream_seq": 0}
            counts = {"num_ack_pending": 0, "num_redelivered": 0, "num_waiting": 0}
            return {"num_pending": pending, "delivered": at, "ack_floor": at, **counts}
        if verb.startswith("STREAM.MSG.GET."):
            assert payload is not None
            return {"message": {"time": _BEGAN}}
        raise jetstream.JetStreamError(verb, 404, jetstream.STREAM_NOT_FOUND, "stream not found")


def jobs(count: int) -> list[records.Job]:
    return [job_record(f"p{number:04}", "a" * 32, JobState.RUNNING) for number in range(count)]


@asynccontextmanager
async def looking(streams: Streams) -> AsyncIterator[None]:
    async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(streams.run())
        yield
        running.cancel()


def shown(streams: Streams) -> dict[tuple[Metric, tuple[str, ...]], Any]:
    return {(metric, labels): value for metric, labels, value in together([streams])}


async def test_a_datum_that_waits_is_seen_among_a_thousand_pipelines() -> None:
    there = jobs(1000)
    late = there[-1].pipeline
    server: Any = Server(late)
    streams = Streams(server, server, WARDS, lambda: there, Pipelines(most=2000), Looptime())
    key = names.OLDEST_PENDING, (late,)
    async with looking(streams):
        while key not in (page := shown(streams)):
            await asyncio.sleep(SCRAPED_S)
        assert page[key] == Looptime().monotonic_s() < ALERT_AFTER_S
        while shown(streams)[names.QUEUES_UNSEEN, ()]:
            await asyncio.sleep(SCRAPED_S)
        there.clear()  # all have ended
        while key in shown(streams):
            await asyncio.sleep(SCRAPED_S)


async def test_of_those_without_a_name_of_their_own_the_oldest_is_shown() -> None:
    there = jobs(30)
    server: Any = Server(there[20].pipeline)
    streams = Streams(server, server, WARDS, lambda: there, Pipelines(most=10), Looptime())
    async with looking(streams):
        shown(streams)
        await asyncio.sleep(SCRAPED_S)
        page = shown(streams)
    assert page[names.OLDEST_PENDING, (REST,)] == SCRAPED_S
    assert page[names.OLDEST_PENDING, (there[0].pipeline,)] == 0


async def test_a_look_asks_for_no_more_where_there_are_more_pipelines() -> None:
    asked = []
    for count in (2 * QUEUES, 20 * QUEUES):
        server: Any = Server("none")
        streams = Streams(server, server, WARDS, partial(jobs, count), Pipelines(), Looptime())
        async with looking(streams):
            shown(streams)
            await asyncio.sleep(1)
            assert shown(streams)[names.QUEUES_UNSEEN, ()] == count - 2 * QUEUES
            asked.append(server.asked)
    assert asked[0] == asked[1]
