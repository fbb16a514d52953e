"""The permission matrix: each deed tried by each role on a real server, as a table.

`python -m tests.support.matrix --write` puts what the server said into docs/security.md; a test says
what it says is what stands there. A deed is tried as its role is connected in an installation; the
worker is one of `p1`. *yes* means that the server lets it, not that anything comes of it.
"""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from tests.support import made_pages
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus.connection import NatsConnection
from trunkline.bus.ports import Message
from trunkline.contracts import errors, subjects

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN = "<!-- what a real server said: `make docs` -->"

JOB = "a" * 32
ROLES = (
    "user",
    "coordinator",
    "scaler",
    "auditor",
    "coordinator-data",
    "scaler-data",
    "auditor-data",
    "worker",
)
OWN, OTHER = ward("p1"), ward("p2")
HIDDEN = subjects.data_api(WARDS)
API = "$JS.API"
SPECS = subjects.bucket_stream(subjects.PIPELINES)
JOBS = subjects.bucket_stream(subjects.JOBS)


class Deed(msgspec.Struct, frozen=True):
    """Something to try: to publish to a subject, or to subscribe to it."""

    what: str
    subject: str
    listen: bool = False


def deeds() -> Iterator[tuple[str, list[Deed]]]:
    """Yield a title and its deeds."""
    datums = subjects.datums_stream
    yield (
        "specs and state (CTL)",
        [
            Deed("publish a spec", subjects.APPLY),
            Deed("ask the API", subjects.api("pipeline.list")),
            Deed("hear what others ask the API", subjects.API, listen=True),
            Deed("read specs", f"{API}.DIRECT.GET.{SPECS}.$KV.{subjects.PIPELINES}.p1"),
            Deed("follow specs", f"{API}.CONSUMER.CREATE.{SPECS}.x"),
            Deed("write a spec", f"$KV.{subjects.PIPELINES}.p1"),
            Deed("read jobs", f"{API}.DIRECT.GET.{JOBS}.$KV.{subjects.JOBS}.p1.{JOB}"),
            Deed("read jobs by a query", f"{API}.DIRECT.GET.{JOBS}"),
            Deed("read jobs of the leader", f"{API}.STREAM.MSG.GET.{JOBS}"),
            Deed("follow jobs", f"{API}.CONSUMER.CREATE.{JOBS}.x"),
            Deed("write a job's record", f"$KV.{subjects.JOBS}.p1.{JOB}"),
            Deed("write what the scaler wants", f"$KV.{subjects.SCALING}.p1"),
            Deed("say who leads the coordinators", f"$KV.{subjects.LEADERS}.coordinator"),
            Deed("say who leads the scalers", f"$KV.{subjects.LEADERS}.scaler"),
            Deed("delete or purge a bucket", f"{API}.STREAM.PURGE.{SPECS}"),
            Deed("write an event", subjects.event("p1", "x")),
            Deed("take published specs", f"{API}.CONSUMER.MSG.NEXT.TL_COMMANDS.coordinator"),
        ],
    )
    yield (
        "datums (DATA)",
        [
            Deed("put datums into a queue", subjects.datums(OWN, JOB)),
            Deed("take its own pipeline's datums", f"{API}.CONSUMER.MSG.NEXT.{datums('p1')}.{JOB}"),
            Deed("take another pipeline's", f"{API}.CONSUMER.MSG.NEXT.{datums('p2')}.{JOB}"),
            Deed("settle its own deliveries", f"$JS.ACK.{datums('p1')}.{JOB}.2.1.2.5.0"),
            Deed("settle another pipeline's", f"$JS.ACK.{datums('p2')}.{JOB}.2.1.2.5.0"),
            Deed("settle on a holder's behalf", subjects.ack("p2", JOB, 1)),
            Deed("hear datums on their way", subjects.DATUMS, listen=True),
            Deed("make a consumer on a queue", f"{HIDDEN}.CONSUMER.CREATE.{datums('p1')}.x.y"),
            Deed("see how much is left", f"{HIDDEN}.CONSUMER.INFO.{datums('p1')}.{JOB}"),
        ],
    )
    yield "what workers say (DATA)", list(_said())
    yield (
        "what workers are told (DATA)",
        [
            Deed("assign jobs", subjects.assignments(OWN)),
            Deed("hear its own assignment", subjects.assignments(OWN), listen=True),
            Deed("hear another pipeline's", subjects.assignments(OTHER), listen=True),
            Deed("tell a worker to drain", subjects.control(OWN, "w1")),
            Deed("hear its own pipeline's", subjects.control_of(OWN), listen=True),
            Deed("hear another pipeline's drains", subjects.control_of(OTHER), listen=True),
        ],
    )
    yield "streams of DATA", list(_streams())
    yield (
        "connections and inboxes",
        [
            Deed("hear who comes and goes", subjects.disconnects(WARDS), listen=True),
            Deed("hear that from the server itself", "$SYS.>", listen=True),
            Deed("say that somebody is gone", subjects.disconnects(WARDS)),
            Deed("hear the coordinator's inbox", f"{subjects.COORDINATOR_INBOX}.>", listen=True),
            Deed("hear the scaler's inbox", f"{subjects.SCALER_INBOX}.>", listen=True),
            Deed("hear the auditor's inbox", f"{subjects.AUDITOR_INBOX}.>", listen=True),
            Deed("hear its pipeline's workers' inboxes", subjects.worker_inboxes(OWN), listen=True),
            Deed("hear other workers' inboxes", subjects.worker_inboxes(OTHER), listen=True),
            Deed("hear all workers' inboxes", "_I.worker.>", listen=True),
            Deed("use any inbox (`_INBOX.>`)", "_INBOX.>", listen=True),
            Deed("hear everything (`>`)", ">", listen=True),
        ],
    )


def _said() -> Iterator[Deed]:
    for noun, its, stream in (
        ("outcome", lambda w: subjects.outcome(w, JOB, 0, 1), subjects.OUTCOMES_STREAM),
        ("attempt ledger", lambda w: subjects.attempts(w, JOB, 0), subjects.ATTEMPTS_STREAM),
    ):
        yield Deed(f"store an {noun} of its own pipeline", its(OWN))
        yield Deed(f"store an {noun} of another", its(OTHER))
        yield Deed(f"read an {noun} of its own", f"{API}.DIRECT.GET.{stream}.{its(OWN)}")
        yield Deed(f"read an {noun} of another", f"{API}.DIRECT.GET.{stream}.{its(OTHER)}")
        yield Deed(f"read {noun}s by a query", f"{API}.DIRECT.GET.{stream}")
    yield Deed("claim for its own pipeline", subjects.claims(OWN, "w1"))
    yield Deed("claim for another", subjects.claims(OTHER, "w1"))
    yield Deed("hear all claims", subjects.CLAIMS, listen=True)
    yield Deed("log for its own pipeline", subjects.logs(OWN, JOB, 0, "w1", "stdout"))
    yield Deed("log for another", subjects.logs(OTHER, JOB, 0, "w1", "stdout"))
    yield Deed("say why an attempt has ended", subjects.logs(OWN, JOB, 0, "w1", "agent"))
    yield Deed("tell events of its own pipeline", subjects.worker_event(OWN, "x"))
    yield Deed("tell events of another", subjects.worker_event(OTHER, "x"))
    for noun, stream in (
        ("outcomes", subjects.OUTCOMES_STREAM),
        ("logs", subjects.LOGS_STREAM),
        ("worker events", subjects.WORKER_EVENTS_STREAM),
    ):
        yield Deed(f"follow all {noun}", f"{HIDDEN}.CONSUMER.CREATE.{stream}.x")


def _streams() -> Iterator[Deed]:
    for noun, stream in (
        ("outcomes", subjects.OUTCOMES_STREAM),
        ("logs", subjects.LOGS_STREAM),
        ("a queue", subjects.datums_stream("p1")),
    ):
        yield Deed(f"delete the stream of {noun}", f"{HIDDEN}.STREAM.DELETE.{stream}")
        yield Deed(f"purge {noun}", f"{HIDDEN}.STREAM.PURGE.{stream}")
    yield Deed("remove a message", f"{HIDDEN}.STREAM.MSG.DELETE.{subjects.OUTCOMES_STREAM}")
    yield Deed("make a stream", f"{HIDDEN}.STREAM.CREATE.x")
    yield Deed("list streams", f"{HIDDEN}.STREAM.NAMES")
    yield Deed("purge the account", f"{HIDDEN}.ACCOUNT.PURGE.DATA")
    yield Deed("use the API's usual name", f"{API}.STREAM.DELETE.{subjects.OUTCOMES_STREAM}")


async def may(connection: NatsConnection, deed: Deed) -> bool:
    """Return whether the server lets a connection do it, at once."""
    try:
        if deed.listen:
            await connection.serve(deed.subject, _ignore)
        else:
            await connection.publish(deed.subject, b"")
            await connection.flush()
    except errors.PermissionViolationError:
        return False
    return True


async def _ignore(_message: Message) -> None:
    return


async def tried(server: TestServer) -> dict[tuple[str, str], bool]:
    """Try everything; return (what, role) -> whether the server let it.

    A role has one connection for the deeds of a title; what these may have destroyed is made anew.
    """
    found: dict[tuple[str, str], bool] = {}
    for _, some in deeds():
        await server.declare("p1", "p2")
        for role in ROLES:
            async with AsyncExitStack() as stack:
                connection = await stack.enter_async_context(
                    server.connect_worker("p1") if role == "worker" else server.connect(role)
                )
                for deed in some:
                    found[deed.what, role] = await may(connection, deed)
    return found


def rendered(found: dict[tuple[str, str], bool]) -> str:
    """Return the page as it should be."""
    heads = (*ROLES[:-1], "worker of `p1`")
    lines = [f"| | {' | '.join(heads)} |", "|---|" + ":-:|" * len(ROLES)]
    for title, some in deeds():
        lines.append(f"| **{title}** |" + " |" * len(ROLES))
        for deed in some:
            cells = ["yes" if found[deed.what, role] else "" for role in ROLES]
            lines.append(f"| {deed.what} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    return made_pages.between(PAGE.read_text(), BEGIN, f"\n{table}\n\n")


async def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = TestServer(Path(folder))
        await server.start()
        try:
            PAGE.write_text(rendered(await tried(server)))
        finally:
            await server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    logging.disable()  # each refusal is an error, and most of what is tried is refused
    asyncio.run(_write())


if __name__ == "__main__":
    main()
