"""What a user is told of an error that nobody foresaw: by what whoever reads the coordinator's log finds it."""

import asyncio
import contextlib
import json
import logging

import msgspec
import pytest
from tests.support.nats import TestServer

from trunkline.contracts import api, errors, subjects, traces
from trunkline.coordinator.api import Answer, ApiServer
from trunkline.runtime import logs

TRACE = "ab" * 16


async def test_an_error_that_nobody_foresaw_is_answered_with_the_trace_that_its_log_line_bears(
    nats_server: TestServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", logs.JsonLines("coordinator"))
    ready = asyncio.Event()
    ready.set()

    async def fail(_: bytes) -> Answer:
        raise ZeroDivisionError

    async def answer(headers: dict[str, str]) -> str:
        message = await user.request(subjects.api("status"), b"", headers=headers)
        reply = msgspec.json.decode(message.data, type=api.Reply)
        assert reply.code == "internal"
        return reply.problems[0][1]

    async with (
        asyncio.timeout(20),
        nats_server.connect("coordinator") as ctl,
        nats_server.connect("user") as user,
        asyncio.TaskGroup() as tasks,
    ):
        server = ApiServer(ctl, {"status": fail}, ready, places=1, timeout_s=5.0)
        serving = tasks.create_task(server.run(), name="api")
        with caplog.at_level(logging.ERROR, "trunkline.coordinator.api"):
            told = ""
            while not told:
                with contextlib.suppress(errors.UnavailableError):  # until it listens
                    told = await answer({traces.HEADER: traces.made(TRACE, "cd" * 8)})
            alone = await answer({})
        serving.cancel()
    first, second = (json.loads(line)["trace"] for line in caplog.text.splitlines())
    assert first == TRACE
    assert told.endswith(f"by trace {TRACE}")
    assert alone.endswith(f"by trace {second}")
    assert second != TRACE
