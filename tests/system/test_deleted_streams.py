"""Streams, buckets and consumers are deleted by an operator's hand in the middle of a job.

Each is made again by the coordinator, and the job ends as if nothing had been.
"""

import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from tests.support import gates, installation
from tests.support.gates import Gate
from tests.support.installation import Installation, until

from trunkline.bus.connection import NatsConnection, connect
from trunkline.contracts import errors, messages, subjects
from trunkline.contracts.wards import Wards
from trunkline.local.server_files import Files

pytestmark = [pytest.mark.nats, pytest.mark.timeout(300)]

UPPER = 'sleep 0.05; for f in "$PFS"/in/*; do tr a-z A-Z <"$f" >"$PFS/out/${f##*/}"; done'
DATUMS = 60
CONSUMER = "the job's consumer"
COMMANDS = "the consumer of published specs"
TURNS = (
    (CONSUMER, COMMANDS),
    (subjects.datums_stream("upper"),),
    (subjects.OUTCOMES_STREAM,),
    (
        subjects.ATTEMPTS_STREAM,
        subjects.CLAIMS_STREAM,
        subjects.ASSIGNMENTS_STREAM,
        subjects.LOGS_STREAM,
        subjects.WORKER_EVENTS_STREAM,
        subjects.COMMANDS_STREAM,
        subjects.EVENTS_STREAM,
    ),
    (subjects.bucket_stream(subjects.DONE), subjects.bucket_stream(subjects.NODES)),
    tuple(
        subjects.bucket_stream(each)
        for each in (
            subjects.PIPELINES,
            subjects.REPOS,
            subjects.BRANCHES,
            subjects.JOBS,
            subjects.SCALING,
        )
    ),
)
"""What is deleted together."""


class Hand:
    """Somebody who may do everything in both accounts."""

    def __init__(self, ctl: NatsConnection, data: NatsConnection) -> None:
        self.ctl, self.data = ctl, data

    async def delete(self, what: str, job: str) -> None:
        if what == CONSUMER:
            stream, consumer = subjects.datums_stream("upper"), subjects.job_consumer(job)
            await self.data.js_api(f"CONSUMER.DELETE.{stream}.{consumer}")
        elif what == COMMANDS:
            stream, consumer = subjects.COMMANDS_STREAM, subjects.COMMANDS_CONSUMER
            await self.ctl.js_api(f"CONSUMER.DELETE.{stream}.{consumer}")
        else:
            await self._of(what).js_api(f"STREAM.DELETE.{what}")

    async def there(self, what: str) -> bool:
        """Return whether a stream is there (again)."""
        if what in (CONSUMER, COMMANDS):
            return True  # the next job, or spec, tells
        with contextlib.suppress(errors.TrunklineError):
            await self._of(what).js_api(f"STREAM.INFO.{what}")
            return True
        return False

    def _of(self, stream: str) -> NatsConnection:
        ctl = stream.startswith("KV_") or stream in (
            subjects.COMMANDS_STREAM,
            subjects.EVENTS_STREAM,
        )
        return self.ctl if ctl else self.data


@asynccontextmanager
async def hand(here: Installation) -> AsyncIterator[Hand]:
    """Let the server know somebody without limits, in place of its written configuration."""
    files = Files(here.home / "nats")
    made = files.read()
    assert made is not None
    text = files.server().config.read_text()
    for account in ("CTL", "DATA"):
        user = json.dumps({"user": f"hand-{account}", "password": "x"})
        users = f"  {account} {{\n    jetstream: enabled\n    users: [\n"
        assert users in text
        text = text.replace(users, f"{users}      {user}\n")
    files.server().config.write_text(text)
    os.kill(here.stack.pids["nats-server"], signal.SIGHUP)
    url = f"nats://hand-{{}}:x@127.0.0.1:{made.port}"
    async with (
        connect(url.format("CTL"), name="hand", inbox="_INBOX.hand") as ctl,
        connect(
            url.format("DATA"),
            name="hand",
            inbox="_INBOX.hand",
            api=subjects.data_api(Wards(made.data_key)),
        ) as data,
    ):
        yield Hand(ctl, data)


async def test_what_is_deleted_in_mid_job_is_made_again_and_the_job_ends_right():
    everything: dict[str, bytes] = {}
    async with installation.running(nodes=2, settings={"TRUNKLINE_RESYNC_S": "1"}) as here:
        await here.repo("in")
        wait = gates.of_job(here.home, f"*-{DATUMS - 1}")  # none is over before all is deleted
        await here.apply(
            {
                "pipeline": {"name": "upper"},
                "transform": {"cmd": ["/bin/sh"], "stdin": [wait, UPPER]},
                "parallelism_spec": {"constant": 2},
                "input": {"pfs": {"repo": "in", "glob": "/*"}},
            }
        )
        await here.workers("upper", 2)
        async with hand(here) as operator:
            for turn, together in enumerate(TURNS):
                contents = {
                    f"/{turn}-{number}": f"word {turn} {number}\n".encode()
                    for number in range(DATUMS)
                }
                everything.update(contents)
                job = await here.put("in", contents)
                await here.listed("upper", job, 5)
                for what in together:
                    await operator.delete(what, job)
                print("deleted:", *together)
                for what in together:
                    await until(partial(operator.there, what), what=f"{what} again")
                Gate(here.home / job).open()
                ended = await here.succeeded("upper", job, within_s=60)
                assert ended.total == ended.counts.processed + ended.counts.skipped
                assert await here.content("upper", job) == {
                    path: hashlib.sha256(data.upper()).hexdigest()
                    for path, data in everything.items()
                }
        here.stack.kill("coordinator")
        again = await here.put("in", {"/again": b"again\n"})
        await here.succeeded("upper", again)
        told = [
            each.text
            async for each in here.client.every("event.list", messages.Event)
            if each.kind == "remade"
        ]
        for stream in TURNS[-1]:
            assert any(text.startswith(f"{stream} was gone") for text in told), stream
        assert any("records put back" in text for text in told)
