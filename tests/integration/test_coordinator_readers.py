"""Pages of logs and events among what nobody can read, which any worker may publish where its own belong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec
import pytest
from tests.support.front import Front, a_spec
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus import connection
from trunkline.bus.connection import NatsConnection
from trunkline.bus.publishing import Window
from trunkline.cli import logs, topping
from trunkline.cli.targets import Target
from trunkline.client.client import Client
from trunkline.contracts import api, messages, records, subjects
from trunkline.contracts.states import Cause
from trunkline.coordinator import paging, stretches
from trunkline.coordinator.api import Answer
from trunkline.coordinator.readers import Readers
from trunkline.runtime.clock import SystemClock

T = TypeVar("T")
Verb = Callable[[bytes], Awaitable[Answer]]

JOB = "a" * 32
PAGE = 3
DEEP = b"[" * 800 + b"]" * 800
UNREADABLE = (
    b"\xff",
    b"",
    b"[" * 100_000,
    b'{"type":"event.v1","kind":"k","pipeline":"p","at_ns":1,"source":"s","text":"\\ud800"}',
    b'{"type":"event.v1","kind":"k","pipeline":"p","at_ns":1,"source":"s","text":"","facts":{"a":"\xff"}}',
    b'{"type":"event.v1","kind":"k","pipeline":"p","at_ns":1,"source":"s","text":"","facts":{"a":%s}}'
    % DEEP,
    b'{"type":"event.v1","kind":"k","pipeline":"p","at_ns":-1,"source":"s","text":""}',
    b"{}",
)
"""More than a page of it."""


@pytest.fixture
async def ctl(nats_server: TestServer, data: NatsConnection) -> AsyncIterator[NatsConnection]:
    assert data.connected  # and all streams are there
    async with nats_server.connect("coordinator") as connected:
        yield connected


@pytest.fixture
def readers(ctl: NatsConnection, data: NatsConnection) -> Readers:
    return Readers(ctl, data, WARDS)


async def listed(verb: Verb, asked: msgspec.Struct, kind: type[T]) -> tuple[list[T], str]:
    """Return all that a list holds, page by page, and where who follows goes on."""
    found: list[T] = []
    more, after = True, ""
    while more:
        answer = await verb(msgspec.json.encode(asked))
        assert (answer.more, answer.next) != (True, after), "a page leads nowhere"
        found += msgspec.json.decode(answer.result, type=list[kind])  # type: ignore[valid-type]
        more, after = answer.more, answer.next
        asked = msgspec.structs.replace(asked, after=type(asked.after)(after))  # type: ignore[attr-defined]
    return found, after


def line(text: str, stream: str = "agent") -> bytes:
    said = messages.LogLine(
        worker="w1", datum="d", index=0, stream=stream, text=text, at_ns=1, ends=Cause.OOM
    )
    return messages.encode(said)


def event(text: str, pipeline: str = "p1") -> bytes:
    said = messages.Event(
        kind="attempt", pipeline=pipeline, at_ns=1, source="w1", worker="w1", text=text
    )
    return messages.encode(said)


@pytest.mark.parametrize("stream", ["stdout", "agent"])
async def test_a_page_of_garbage_hides_no_line_behind_it(
    readers: Readers, worker: NatsConnection, stream: str
) -> None:
    """Of `agent` alone: what `logs --failed` goes by."""
    subject, window = subjects.logs(ward("p1"), JOB, 0, "w1", stream), Window(worker)
    await window.put(subject, line("first", stream))
    for garbage in UNREADABLE:
        await window.put(subject, garbage)
    for text in ("second", "third"):
        await window.put(subject, line(text, stream))
    asked = api.LogPage(pipeline="p1", stream=stream, limit=PAGE)
    found, after = await listed(readers.log_page, asked, api.LogEntry)
    assert [each.line.text for each in found] == ["first", "second", "third"]
    assert int(after) == found[-1].sequence
    late = msgspec.structs.replace(asked, after=found[0].sequence, limit=1)
    found, _ = await listed(readers.log_page, late, api.LogEntry)
    assert [each.line.text for each in found] == ["second", "third"]


async def test_each_page_holds_nothing_that_is_older_than_was_asked_for(
    readers: Readers, worker: NatsConnection
) -> None:
    """Also those behind the first one, where the last so many reach back before it."""
    subject, window = subjects.logs(ward("p1"), JOB, 0, "w1", "agent"), Window(worker)
    for text in ("1", "2", "3"):
        await window.put(subject, line(text))
    later = SystemClock().wall_ns() + 3600 * 10**9
    for after in (0, 1):
        asked = api.LogPage(pipeline="p1", last=2, since_ns=later, after=after)
        assert await listed(readers.log_page, asked, api.LogEntry) == ([], "3")


async def test_a_line_says_no_more_of_itself_than_its_subject(
    readers: Readers, worker: NatsConnection
) -> None:
    """Job, index, worker and stream stand before the text on a terminal, and who reads takes them for true."""
    window, own = Window(worker), ward("p1")
    right = subjects.logs(own, JOB, 0, "w1", "agent")
    await window.put(right, line("true"))
    for job in ("\x1b[2J", "A" * 32, "x"):
        await window.put(right.replace(JOB, job), line("forged"))
    for changed in ("1.w1.agent", "0.w2.agent", "0.w1.stdout", "0.w1.\x1b[2J", "00.w1.agent"):
        await window.put(right.replace("0.w1.agent", changed), line("forged"))
    found, _ = await listed(readers.log_page, api.LogPage(pipeline="p1"), api.LogEntry)
    assert [each.line.text for each in found] == ["true"]


async def test_what_one_pipelines_worker_publishes_hides_no_event_of_another(
    readers: Readers, nats_server: TestServer, ctl: NatsConnection, worker: NatsConnection
) -> None:
    ours, theirs, hostile = Window(ctl), Window(worker), subjects.worker_event(ward("bad"), "x")
    await ours.put(subjects.event("p1", "scaled"), event("1"))
    await theirs.put(subjects.worker_event(ward("p1"), "attempt"), event("2"))
    async with nats_server.connect_worker("bad") as attacker:
        for garbage in UNREADABLE:
            await Window(attacker).put(hostile, garbage)
        await Window(attacker).put(hostile, event("forged", "p1"))
    await ours.put(subjects.event("p1", "scaled"), event("3"))
    await theirs.put(subjects.worker_event(ward("p1"), "attempt"), event("4"))
    asked = api.EventPage(limit=1)
    found, after = await listed(readers.event_list, asked, messages.Event)
    assert [each.text for each in found] == ["1", "2", "3", "4"]
    await theirs.put(subjects.worker_event(ward("p1"), "attempt"), event("5"))
    found, _ = await listed(
        readers.event_list, msgspec.structs.replace(asked, after=after), messages.Event
    )
    assert [each.text for each in found] == ["5"]


async def test_no_worker_speaks_for_a_service_or_of_what_services_do(
    readers: Readers, ctl: NatsConnection, worker: NatsConnection
) -> None:
    """Neither that its pipeline was scaled down or deleted, nor under a service's name, nor for another worker."""
    told, window, own = (
        messages.decode("", event("true"), messages.Event),
        Window(worker),
        ward("p1"),
    )
    await window.put(subjects.worker_event(own, "attempt"), event("true"))
    for kind in ("scaled", "reaped", "pipeline-deleted", "job-changed", "x"):
        forged = msgspec.structs.replace(told, kind=kind, text="forged")
        await window.put(subjects.worker_event(own, kind), messages.encode(forged))
        await window.put(subjects.worker_event(own, "attempt"), messages.encode(forged))
    for source in ("scaler", "coordinator", "Scaler", "w2", "", "a scaler", "\x1b[2J"):
        for about in ("w1", source):
            forged = msgspec.structs.replace(told, source=source, worker=about, text="forged")
            if source != "w2" or about == "w1":
                await window.put(subjects.worker_event(own, "attempt"), messages.encode(forged))
    scaled = msgspec.structs.replace(told, kind="scaled", source="scaler", worker="", text="scaled")
    await Window(ctl).put(subjects.event("p1", "scaled"), messages.encode(scaled))
    for asked in (api.EventPage(), api.EventPage(key="p1")):
        found, _ = await listed(readers.event_list, asked, messages.Event)
        assert [(each.source, each.text) for each in found] == [
            ("w1", "true"),
            ("scaler", "scaled"),
        ]


async def test_one_request_reads_through_so_much_garbage_and_the_next_goes_on_there(
    readers: Readers, nats_server: TestServer, ctl: NatsConnection, worker: NatsConnection
) -> None:
    """And what came later in the other account waits for what may still come of before."""
    ours, theirs = Window(ctl), Window(worker)
    await ours.put(subjects.event("p1", "scaled"), event("1"))
    async with nats_server.connect_worker("bad") as attacker:
        for _ in range(stretches.LOOKED_MAX + 1):
            await attacker.publish(subjects.worker_event(ward("bad"), "x"), b"junk")
        await Window(attacker).put(subjects.worker_event(ward("bad"), "attempt"), event("2", "bad"))
    await theirs.put(subjects.worker_event(ward("p1"), "attempt"), event("3"))
    await ours.put(subjects.event("p1", "scaled"), event("4"))
    first = await readers.event_list(msgspec.json.encode(api.EventPage(limit=api.PAGE_MAX)))
    shown = msgspec.json.decode(first.result, type=list[messages.Event])
    assert ([each.text for each in shown], first.more) == (["1"], True)
    assert first.next == f"1.{stretches.LOOKED_MAX}"
    found, _ = await listed(readers.event_list, api.EventPage(), messages.Event)
    assert [each.text for each in found] == ["1", "2", "3", "4"]


async def test_who_asks_for_the_last_lines_before_the_first_one_misses_none_that_comes_then(
    front: Front, worker: NatsConnection
) -> None:
    """The last line is asked for, when there is none; the next look finds several at once."""
    subject, window = subjects.logs(ward("p1"), JOB, 0, "w1", "stdout"), Window(worker)
    inbox = subjects.user_inbox("test")
    async with (
        front.coordinator(),
        connection.connect(front.server.url("user"), name="test", inbox=inbox) as user,
    ):
        client = Client(user, front.store)
        shown: list[str] = []

        def take(entries: Iterable[api.LogEntry]) -> None:
            shown.extend(entry.line.text for entry in entries)

        source = logs.All(client, Target("p1", "p1"), logs.Wanted(tail=1), whole=True)
        await source.look(take, last=False)
        assert shown == []
        for number in range(9):
            await window.put(subject, line(f"{number}\n", "stdout"))
        await window.put(subject, UNREADABLE[0])
        await source.look(take, last=False)
        await source.look(take, last=False)
        assert shown == [f"{number}\n" for number in range(9)]
        for piece in (*"abcdefgh", "\n", "last\n"):
            await window.put(subject, line(piece, "stdout"))
        shown.clear()
        late = logs.All(client, Target("p1", "p1"), logs.Wanted(tail=2), whole=True)
        await late.look(take, last=True)
        assert "".join(shown).endswith("8\nabcdefgh\nlast\n"), "the last two, whole"


async def test_the_last_lines_are_found_behind_any_garbage_and_what_is_passed_over_is_told(
    front: Front, worker: NatsConnection
) -> None:
    subject = subjects.logs(ward("p1"), JOB, 0, "w1", "stdout")
    garbage = subjects.logs(ward("p1"), JOB, 1, "w2", "stdout")
    inbox, shown = subjects.user_inbox("test"), list[str]()

    def take(entries: Iterable[api.LogEntry]) -> None:
        shown.extend(entry.line.text for entry in entries)

    for number in range(3):
        await Window(worker).put(subject, line(f"{number}\n", "stdout"))
    for _ in range(3_000):
        await worker.publish(garbage, b"[" * 50)
    await Window(worker).put(garbage, b"")
    async with (
        asyncio.timeout(20),
        front.coordinator(),
        connection.connect(front.server.url("user"), name="test", inbox=inbox) as user,
    ):
        client = Client(user, front.store)
        for whole in (True, False):
            shown.clear()
            source = logs.All(client, Target("p1", "p1"), logs.Wanted(tail=2), whole=whole)
            await source.look(take, last=True)
            assert shown[-2:] == ["1\n", "2\n"]
            assert (source.found, source.passed) == (True, 3_001)
        shown.clear()
        source = logs.All(client, Target("w2", "p1", worker="w2"), logs.Wanted(tail=5), whole=True)
        await source.look(take, last=True)
        assert (shown, source.found, source.passed) == ([], False, 3_001)


async def test_no_more_is_read_than_a_page_holds(
    data: NatsConnection, worker: NatsConnection
) -> None:
    subject, piece = subjects.logs(ward("p1"), JOB, 0, "w1", "stdout"), b"x" * 16 * 1024
    window = Window(worker)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(40):
            tasks.create_task(window.put(subject, piece), name="put")
    found = await stretches.read(
        data, subjects.LOGS_STREAM, subject, lambda stored: stored.data, after=0, most=500
    )
    assert len(found.found) == paging.PAGE_BYTES // len(piece)
    assert (found.to, found.more) == (len(found.found), True)


async def test_who_floods_everybodys_events_delays_no_board(
    front: Front, nats_server: TestServer, worker: NatsConnection
) -> None:
    inbox = subjects.user_inbox("test")
    async with (
        front.coordinator(),
        connection.connect(front.server.url("user"), name="test", inbox=inbox) as user,
        nats_server.connect_worker("bad") as attacker,
    ):
        await front.get("repo.create", records.Repo, {"name": "in"})
        await front.get("pipeline.apply", records.Pipeline, a_spec("p1", "in"))
        for _ in range(stretches.LOOKED_MAX + 1):
            await attacker.publish(subjects.worker_event(ward("bad"), "x"), b"")
        await Window(attacker).put(subjects.worker_event(ward("bad"), "x"), b"")
        await Window(worker).put(subjects.worker_event(ward("p1"), "attempt"), event("failed"))
        looker = topping.Looker(Client(user, front.store), "", SystemClock(), listen_s=0)
        assert not (await looker.look()).failures, "the board comes before the flood was read"
        assert (await looker.look()).failures
