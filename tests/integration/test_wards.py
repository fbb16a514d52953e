"""A worker has the server answer to subjects that are not its own: what it cannot name, it misses.

The attack is real and needs nothing forbidden. A worker of `attacker` stores an outcome of its own,
whose bytes it chooses, and asks for it by a direct get with the victim's subject as the reply
subject. The server checks who may ask, not where the answer goes. An empty message is had more
cheaply: any pull has one sent.

Each kind of subject is attacked twice: by somebody who was told the victim's ward, which shows that
the attack as such works, and by somebody who tries what can be known without.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from tests.integration.test_reaper import reaping
from tests.support import job_workers
from tests.support import jobs as support
from tests.support.attacker import CHOSEN, EMPTY_BODIES, JOB, Attacker, attacking
from tests.support.jobs import Site
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus import backlog, jetstream, present, topology
from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Message
from trunkline.bus.publishing import Window
from trunkline.contracts import messages, subjects
from trunkline.contracts.messages import Claim
from trunkline.contracts.wards import Ward, Wards
from trunkline.coordinator import forgeries
from trunkline.coordinator.events import Events

VERBS = ("PURGE", "DELETE")
Kind = Callable[[Ward], str]

STORED: dict[str, tuple[str, Kind]] = {
    "datum": (subjects.datums_stream("victim"), lambda w: subjects.datums(w, JOB)),
    "outcome": (subjects.OUTCOMES_STREAM, lambda w: subjects.outcome(w, JOB, 0, 1)),
    "attempts": (subjects.ATTEMPTS_STREAM, lambda w: subjects.attempts(w, JOB, 0)),
    "claim": (subjects.CLAIMS_STREAM, lambda w: subjects.claims(w, "w1")),
    "assignment": (subjects.ASSIGNMENTS_STREAM, subjects.assignments),
    "log": (subjects.LOGS_STREAM, lambda w: subjects.logs(w, JOB, 0, "w1", "stdout")),
    "worker-event": (
        subjects.WORKER_EVENTS_STREAM,
        lambda w: subjects.worker_event(w, "attempt"),
    ),
}
HEARD: dict[str, Kind] = {
    "control": lambda w: subjects.control(w, "w1"),
    "assignment": subjects.assignments,
    "inbox": lambda w: f"{subjects.worker_inbox(w, 'w1')}.1",
}


@pytest.fixture
async def attacker(nats_server: TestServer) -> AsyncIterator[Attacker]:
    async with attacking(nats_server) as made:
        yield made


def misses(kind: Kind) -> Sequence[str]:
    """Return subjects of this kind that somebody tries who does not know the victim's ward."""
    right = kind(ward("victim"))
    token = ward("victim").token
    others = (
        ward("attacker").token,
        Wards("some other key, of 32 or more signs").of("victim").token,
    )
    tried = (*others, "*", ">", "x")
    return (*(right.replace(token, each) for each in tried), right.replace(f".{token}", ""))


async def held(data: NatsConnection, stream: str, subject: str) -> int:
    """Return how many messages a stream holds on a subject."""
    info = await data.js_api(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
    return sum((info["state"].get("subjects") or {}).values())


async def contents(data: NatsConnection, stream: str) -> dict[str, bytes]:
    pages = present.behind(data, stream)
    return {each.subject: each.data async for page in pages for each in page}


@pytest.mark.parametrize("name", STORED)
async def test_what_a_stream_stores_of_a_pipeline_cannot_be_forged(
    nats_server: TestServer, attacker: Attacker, name: str
) -> None:
    stream, kind = STORED[name]
    right = kind(ward("victim"))
    async with nats_server.connect("coordinator-data") as data:
        await attacker.answer_to(*misses(kind))
        assert await held(data, stream, right) == 0
        # told the ward, it writes: nothing else stands in its way
        await attacker.answer_to(right)
        async with asyncio.timeout(10):
            while not await held(data, stream, right):
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", HEARD)
async def test_what_a_worker_hears_cannot_be_forged(
    nats_server: TestServer, attacker: Attacker, name: str
) -> None:
    kind = HEARD[name]
    right = kind(ward("victim"))
    heard: asyncio.Queue[Message] = asyncio.Queue()
    async with nats_server.connect_worker("victim") as victim:
        await victim.serve(right, heard.put)
        await attacker.answer_to(*misses(kind))
        assert heard.empty()
        await attacker.answer_to(right)
        async with asyncio.timeout(10):
            assert (await heard.get()).data == CHOSEN


async def test_who_hears_the_coordinator_cannot_guess_where_its_answers_go(
    nats_server: TestServer, attacker: Attacker
) -> None:
    """An assignment is heard by workers with its reply subject: the place of its own answer only.

    1. A worker hears two assignments of its pipeline, each with a reply subject.
    2. It has the server answer there, and to what would come before and after them in any order.
    3. Whatever the coordinator asks meanwhile is answered by the server alone.
    """
    heard: asyncio.Queue[Message] = asyncio.Queue()
    async with nats_server.connect("coordinator-data") as data:
        async with nats_server.connect_worker("attacker", "w2") as listener:
            await listener.serve(subjects.assignments(ward("attacker")), heard.put)
            window = Window(data)
            for text in (b"1", b"2"):
                await window.put(subjects.assignments(ward("attacker")), text)
            async with asyncio.timeout(10):
                replies = [(await heard.get()).reply for _ in range(2)]
        places = [reply.rpartition(".") for reply in replies]
        assert places[0][0] == places[1][0]
        assert all(len(token) >= 16 for _, _, token in places)
        prefixes = {token[:12] for _, _, token in places}
        assert len(prefixes) == 2  # no counter, and nothing that is counted up from
        guesses = [f"{places[0][0]}.{token}" for token in ("*", ">", "1", places[0][2], "x")]
        await attacker.answer_to(*replies, *guesses)
        for _ in range(20):
            info = await data.js_api(f"STREAM.INFO.{subjects.OUTCOMES_STREAM}")
            assert info["config"]["name"] == subjects.OUTCOMES_STREAM


async def test_no_answer_crosses_accounts(nats_server: TestServer, attacker: Attacker) -> None:
    """Neither a worker nor a user has a spec written by an answer: answers stay where they are asked."""
    spec = f"$KV.{subjects.PIPELINES}.victim"
    stream = subjects.bucket_stream(subjects.PIPELINES)
    async with (
        nats_server.connect("user") as user,
        nats_server.connect("coordinator") as ctl,
        nats_server.connect("scaler") as scaler,
    ):
        await attacker.answer_to(spec)
        came = asyncio.Event()
        inbox, _ = user.listen(lambda *_: came.set())
        for reply in (spec, inbox):
            user.send(subjects.APPLY, CHOSEN, reply=reply)
        async with asyncio.timeout(10):
            await came.wait()
        assert user.violations == 0
        assert await ctl.last(stream, spec) is None
        # inside CTL there is no such wall: there the services trust each other
        await Window(scaler).put(f"$KV.{subjects.SCALING}.x", CHOSEN)
        scaling = subjects.bucket_stream(subjects.SCALING)
        get = f"$JS.API.DIRECT.GET.{scaling}.$KV.{subjects.SCALING}.x"
        scaler.send(get, b"", reply=spec)
        async with asyncio.timeout(10):
            while await ctl.last(stream, spec) is None:
                await asyncio.sleep(0.01)


async def test_the_servers_word_on_connections_cannot_be_forged(
    either_server: TestServer,
) -> None:
    """A made-up disconnect would have the reaper give back, and charge, what living workers hold."""
    heard: asyncio.Queue[Message] = asyncio.Queue()
    async with attacking(either_server) as attacker, either_server.connect("scaler-data") as scaler:
        for right in (subjects.connects(WARDS), subjects.disconnects(WARDS)):
            await scaler.serve(right, heard.put)
        wrong = [right.replace(WARDS.hidden, each) for each in ("*", ward("attacker").token)]
        await attacker.answer_to(subjects.SYS_CONNECTS, subjects.SYS_DISCONNECTS, *wrong)
        assert heard.empty()
        await attacker.answer_to(right)
        async with asyncio.timeout(10):
            assert (await heard.get()).data == CHOSEN


@pytest.mark.parametrize("how", EMPTY_BODIES)
async def test_jetstreams_api_cannot_be_reached_by_an_answer(
    either_server: TestServer, how: str
) -> None:
    """An empty message on `$JS.API.STREAM.DELETE.<stream>` deletes it; a worker can send many.

    The truth about all pipelines stays while the API's name is not known, and is gone else.
    """
    async with (
        attacking(either_server) as attacker,
        either_server.connect("coordinator-data") as data,
    ):
        await Window(data).put(subjects.datums(ward("victim"), JOB), b"datum")
        await topology.ensure_job_consumer(
            data, ward("attacker"), JOB, ack_wait_s=60, max_ack_pending=10
        )
        hidden = subjects.data_api(WARDS)
        # outcomes last: once that stream is gone, nothing can be got from it
        streams = (subjects.datums_stream("victim"), subjects.OUTCOMES_STREAM)
        for prefix in ("$JS.API", hidden.replace(WARDS.hidden, "*"), hidden):
            await attacker.send_nothing_to(
                how, *(f"{prefix}.STREAM.{verb}.{each}" for each in streams for verb in VERBS)
            )
            left = {each for each in streams if await exists(data, each)}
            if prefix != hidden:
                assert left == set(streams)
                assert await held(data, streams[0], subjects.datums(ward("victim"), JOB)) == 1
        async with asyncio.timeout(10):
            while any([await exists(data, each) for each in streams]):
                await asyncio.sleep(0.01)


async def test_who_pulls_for_another_pipeline_by_an_answer_gets_nothing_done(
    nats_server: TestServer, attacker: Attacker
) -> None:
    """An answer has no reply subject of its own, so the victim's datum is sent nowhere."""
    async with nats_server.connect("coordinator-data") as data:
        await Window(data).put(subjects.datums(ward("victim"), JOB), b"datum")
        await topology.ensure_job_consumer(
            data, ward("victim"), JOB, ack_wait_s=60, max_ack_pending=10
        )
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.datums_stream('victim')}.{JOB}"
        await attacker.answer_to(pull, data=b'{"batch": 1}')
        await attacker.send_nothing_to(EMPTY_BODIES[0], pull)
        assert await backlog.gauge(data, "victim", JOB) == backlog.Gauge(pending=1, in_flight=0)


async def exists(data: NatsConnection, stream: str) -> bool:
    try:
        await data.js_api(f"STREAM.INFO.{stream}")
    except jetstream.JetStreamError as error:
        return error.err_code != jetstream.STREAM_NOT_FOUND
    return True


async def test_what_missed_is_removed_and_told(nats_server: TestServer, attacker: Attacker) -> None:
    """What is the victim's own stays, whatever wildcards a forger writes into a subject."""
    kept_for_ever = ("outcome", "attempts", "claim", "assignment")
    async with (
        nats_server.connect("coordinator") as ctl,
        nats_server.connect("coordinator-data") as data,
        nats_server.connect_worker("victim") as victim,
    ):
        window = Window(victim)
        for name in ("outcome", "attempts", "claim"):
            await window.put(STORED[name][1](ward("victim")), b"true")
        await Window(data).put(subjects.assignments(ward("victim")), b"true")
        for name in kept_for_ever:
            await attacker.answer_to(*misses(STORED[name][1]))
        looking = forgeries.Forgeries(data, WARDS, Events(Window(ctl), support.CLOCK))
        forged = 0
        for name in kept_for_ever:
            stream, kind = STORED[name]
            wrong = [subject for subject in await contents(data, stream) if not WARDS.owns(subject)]
            forged += len(wrong)
            if name == "outcome":  # the coordinator's folder sees these, and notes them
                async for page in present.behind(data, stream):
                    for stored in page:
                        if stored.subject in wrong:
                            assert looking.note(stream, stored)
        assert forged
        await looking.look()
        for name in kept_for_ever:
            stream, kind = STORED[name]
            left = await contents(data, stream)
            assert all(WARDS.owns(subject) for subject in left)
            assert left[kind(ward("victim"))] == b"true"
        event = await ctl.last(subjects.EVENTS_STREAM, subjects.event("victim", "forgery-removed"))
        assert event is not None
        assert "another pipeline" in messages.decode("", event.data, messages.Event).text


async def test_a_flood_of_forgeries_is_removed_to_the_last_one(
    nats_server: TestServer, attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than are remembered at a time: the rest is found in the stream itself."""
    monkeypatch.setattr(forgeries, "NOTED", 3)
    right = subjects.outcome(ward("victim"), "a" * 32, 0, 1)
    wrong = right.replace(ward("victim").token, ward("attacker").token)
    async with (
        nats_server.connect("coordinator") as ctl,
        nats_server.connect("coordinator-data") as data,
    ):
        for number in range(11):
            await attacker.answer_to(f"{wrong[:-3]}{number}.1")
        looking = forgeries.Forgeries(data, WARDS, Events(Window(ctl), support.CLOCK))
        noted = 0
        async for page in present.behind(data, subjects.OUTCOMES_STREAM):
            noted += sum(looking.note(subjects.OUTCOMES_STREAM, each) for each in page)
        assert noted == 3
        await looking.look()
        left = await contents(data, subjects.OUTCOMES_STREAM)
        assert all(WARDS.owns(subject) for subject in left)


async def test_a_forged_outcome_ends_no_datum(
    nats_server: TestServer, tmp_path_factory: pytest.TempPathFactory, attacker: Attacker
) -> None:
    """The job waits for the victim's worker, and the forgery is gone in the end."""
    folder = tmp_path_factory.mktemp("site")
    async with support.site(nats_server, folder, "victim") as site:
        job = await site.job("victim", await site.commit("in", support.lines(1)))
        right = subjects.outcome(ward("victim"), job.id, 0, 1)
        wrong = right.replace(ward("victim").token, ward("attacker").token)
        async with support.process(site) as process, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(process.runner.run("victim", job.id))
            await attacker.answer_to(wrong)
            await is_held(site, wrong, 1)
            assert not running.done()
            async with job_workers.worker(site, "victim") as worker:
                await running
            assert (len(worker.tasks), worker.refused) == (1, 0)
            await process.folder.forgeries.look()
            await is_held(site, wrong, 0)
        assert (await site.record(job)).state == "SUCCESS"


async def is_held(site: Site, subject: str, count: int) -> None:
    async with asyncio.timeout(10):
        while await held(site.data, subjects.OUTCOMES_STREAM, subject) != count:
            await asyncio.sleep(0.01)


async def test_a_forged_claim_is_nobodys(nats_server: TestServer, attacker: Attacker) -> None:
    """The reaper knows a worker by what was claimed under its pipeline's ward only."""
    claim = messages.encode(Claim(worker="w1", incarnation="x", code_hash="c", slots=1))
    kind = STORED["claim"][1]
    async with reaping(nats_server, "victim") as field:
        await attacker.answer_to(*misses(kind), data=claim)
        # claims are heard in order: once this one is known, those before it were heard
        await attacker.answer_to(subjects.claims(ward("attacker"), "w1"), data=claim)
        await field.knows("attacker", "w1")
        assert [key for key, _ in field.reaper.living()] == [("attacker", "w1")]
