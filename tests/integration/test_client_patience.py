"""Clients of an installation that does not answer for a while, on a real server."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.support.nats import TestServer

from trunkline.bus.ports import Connection, Message
from trunkline.client import client as clients
from trunkline.client.client import Client, Waiting
from trunkline.contracts import api, errors, records, subjects


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.once = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.once.set()


def answering(
    reply: Callable[[str, bytes], Awaitable[None]],
) -> Callable[[Message], Awaitable[None]]:
    async def answer(message: Message) -> None:
        nodes = msgspec.Raw(msgspec.json.encode(records.Nodes(count=3)))
        await reply(message.reply, msgspec.json.encode(api.Reply(ok=True, result=nodes)))

    return answer


async def test_a_request_is_repeated_until_somebody_answers_and_it_is_told_once(
    nats_server: TestServer,
) -> None:
    told = Told()
    async with (
        asyncio.timeout(20),
        nats_server.connect("user") as connection,
        nats_server.connect("coordinator") as coordinator,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = Waiting(told, notice_s=0.05)
        client = Client(connection, None, patience_s=20, waiting=waiting)  # type: ignore[arg-type]
        asked = tasks.create_task(client.call("nodes.get", None, records.Nodes))
        await told.once.wait()
        await coordinator.serve(subjects.API, answering(coordinator.publish))
        assert await asked == records.Nodes(count=3)
    assert told.lines == ["waiting for the coordinator, which does not answer, for up to 20 s"]


@pytest.mark.parametrize("verb", ["nodes.get", "repo.create"])
async def test_patience_ends(nats_server: TestServer, verb: str) -> None:
    told = Told()
    async with asyncio.timeout(20), nats_server.connect("user") as connection:
        waiting = Waiting(told, notice_s=0.05)
        client = Client(connection, None, patience_s=0.2, waiting=waiting)  # type: ignore[arg-type]
        with pytest.raises(errors.UnavailableError, match="nobody listens"):
            await client.call(verb, None, records.Nodes)
    assert len(told.lines) == 1


def late_answers(
    connection: Connection, replies: list[api.Reply]
) -> tuple[Callable[[Message], Awaitable[None]], list[str]]:
    """Return who lets the first request go unanswered and answers the others, and what was asked."""
    asked: list[str] = []

    async def answer(message: Message) -> None:
        asked.append(message.subject)
        if len(asked) > 1:
            await connection.publish(message.reply, msgspec.json.encode(replies.pop(0)))

    return answer, asked


NOT_FOUND = api.Reply(ok=False, code="not-found", problems=(("", "there is no repo 'in'"),))


@pytest.mark.parametrize("lost", [True, False])
async def test_what_a_repeated_deletion_does_not_find_is_deleted_and_only_then(
    nats_server: TestServer, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    monkeypatch.setattr(clients, "REQUEST_S", 0.2)
    async with (
        asyncio.timeout(20),
        nats_server.connect("user") as connection,
        nats_server.connect("coordinator") as coordinator,
    ):
        client = Client(connection, None, patience_s=20)  # type: ignore[arg-type]
        answer, asked = late_answers(coordinator, [NOT_FOUND, NOT_FOUND])
        if not lost:
            asked.append("an earlier one")
        await coordinator.serve(subjects.API, answer)
        request = api.Named(name="in")
        if lost:
            assert await client.delete("repo.delete", request, records.Repo) is None
        else:
            with pytest.raises(errors.RequestRefusedError, match="there is no repo"):
                await client.delete("repo.delete", request, records.Repo)
    assert len(asked) == 2


async def test_a_tick_that_somebody_may_have_got_is_asked_for_once(
    nats_server: TestServer,
) -> None:
    async with (
        asyncio.timeout(20),
        nats_server.connect("user") as connection,
        nats_server.connect("coordinator") as coordinator,
    ):
        client = Client(connection, None, patience_s=20)  # type: ignore[arg-type]
        answer, asked = late_answers(coordinator, [])
        await coordinator.serve(subjects.API, answer)
        request = api.Named(name="words")
        with pytest.raises(errors.UnavailableError):
            await client.call("pipeline.tick", request, api.Ticked, timeout_s=0.2)
    assert asked == [subjects.api("pipeline.tick")]


async def test_a_spec_is_published_once_whoever_is_away_meanwhile(nats_server: TestServer) -> None:
    """1. There is no stream for it. 2. Somebody makes it while the client repeats itself."""
    told = Told()
    async with asyncio.timeout(20), nats_server.connect("user") as connection:
        waiting = Waiting(told, notice_s=0.05)
        client = Client(connection, None, patience_s=20, waiting=waiting)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.publish_spec(b"a spec"))
            await told.once.wait()
            await nats_server.declare()
        async with nats_server.connect("coordinator") as coordinator:
            info = await coordinator.js_api(f"STREAM.INFO.{subjects.COMMANDS_STREAM}")
    assert info["state"]["messages"] == 1


async def test_a_server_that_is_not_there_is_told_of_and_then_given_up() -> None:
    told = Told()
    with pytest.raises(errors.UnavailableError, match="no connection within"):
        async with clients.connect(
            "nats://user:geheim@127.0.0.1:9", "memory://", connect_s=0.2, notice_s=0.05, tell=told
        ):
            pass
    assert told.lines == [
        "waiting for NATS at nats://user:***@127.0.0.1:9, which does not answer, for up to 0.2 s"
    ]
