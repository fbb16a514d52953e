"""A server in operator mode: who logs in by signed claims, until when, and what they say of a worker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.integration.test_reaper import reaping
from tests.support import workers
from tests.support.operator import LIFE_S, OperatorServer
from tests.support.wards import WARDS, ward
from tests.support.workers import PIPELINE

from trunkline.bus import bootstrap, connection, jwts, logins, operator, probe, zones
from trunkline.bus.connection import NatsConnection
from trunkline.bus.jwts import Claims, Creds, Key
from trunkline.bus.ports import Message
from trunkline.contracts import errors, subjects
from trunkline.contracts.states import DatumState
from trunkline.runtime.clock import SystemClock
from trunkline.scaler import hearing, issuing
from trunkline.scaler.ports import Credentials


def now() -> int:
    return time.time_ns() // 10**9


@asynccontextmanager
async def worker_of(url: str, pipeline: str, name: str = "w1") -> AsyncIterator[NatsConnection]:
    inbox = subjects.worker_inbox(ward(pipeline), name)
    async with connection.connect(url, name=name, inbox=inbox) as made:
        yield made


@asynccontextmanager
async def arrivals(server: OperatorServer) -> AsyncIterator[list[tuple[str, hearing.ClientEvent]]]:
    """Give what the scaler hears of connections, in order."""
    heard: list[tuple[str, hearing.ClientEvent]] = []

    async def hear(message: Message) -> None:
        event = hearing.client_event(message)
        assert event is not None
        heard.append((message.subject.rpartition(".")[2], event))

    async with server.connect("scaler-data") as scaler:
        for subject in (subjects.connects(WARDS), subjects.disconnects(WARDS)):
            await scaler.serve(subject, hear)
        yield heard


async def until(true: Any) -> None:
    async with asyncio.timeout(15):
        while not true():
            await asyncio.sleep(0.01)


# --- whose worker it is ---------------------------------------------------------------------------


async def test_the_reaper_believes_the_signed_tags_and_nothing_that_a_client_says(
    operator_server: OperatorServer,
) -> None:
    """A worker of `spoofer` logs in as a user `worker.victim`, named after the victim's worker.

    The server takes that user for no login, but tells of it; the tags are what it has checked.
    """
    login = logins.Login(await operator_server.issuer.worker_url("spoofer"))
    async with arrivals(operator_server) as heard:
        reader, writer = await asyncio.open_connection(*login.places[0])
        info = json.loads((await reader.readuntil(b"\r\n")).partition(b" ")[2])
        said = {"user": "worker.victim", "name": "w-0", **login.answer(info["nonce"])}
        writer.write(f"CONNECT {json.dumps({'verbose': False, **said})}\r\nPING\r\n".encode())
        assert (await reader.readuntil(b"\r\n")).startswith(b"PONG")
        writer.close()
        await until(lambda: len([each for each in heard if each[0] == "disconnect"]) == 1)
    told = [event for _, event in heard if event.client.name == "w-0"]
    assert {event.client.user for event in told} == {"worker.victim"}
    assert {event.key for event in told} == {("spoofer", "w-0")}


async def test_each_account_is_told_of_its_own_connections_only(
    operator_server: OperatorServer,
) -> None:
    """CTL imports DATA's events: signed by the operator, taken by the server, and nothing comes of it.

    1. CTL's claims get the imports that DATA has. 2. A worker comes and goes. 3. DATA hears of it.
    """
    server, heard_in_ctl = operator_server, asyncio.Event()
    ctl = jwts.read(server.shelf.read(bootstrap.claims_of("CTL")) or "")
    data = jwts.read(server.shelf.read(bootstrap.claims_of("DATA")) or "")
    here = "trunkline.api.stolen.>"
    stolen = [
        {**each, "local_subject": here.replace(">", str(number))}
        for number, each in enumerate(data.nats["imports"])
        if each["type"] == "stream"
    ]
    claims = msgspec.structs.replace(ctl, iat=ctl.iat + 1, nats={**ctl.nats, "imports": stolen})
    async with sys_user(server) as sys:
        revoking = Key(server.shelf.read(bootstrap.seed_of(bootstrap.REVOKING)) or "")
        signed = jwts.signed(claims, revoking).encode()
        answer = await sys.request(subjects.SYS_CLAIMS_UPDATE, signed)
        assert json.loads(answer.data)["data"]["code"] == 200

    async def hear(message: Message) -> None:
        if "stolen" in message.subject:
            heard_in_ctl.set()

    async with server.connect("coordinator") as coordinator, arrivals(server) as heard:
        await coordinator.serve(subjects.API, hear)
        async with server.connect_worker("p1", "w-7"):
            pass
        await until(lambda: [each for each in heard if each[0] == "disconnect"])
        await coordinator.flush()
        assert not heard_in_ctl.is_set()
    assert ("p1", "w-7") in [event.key for _, event in heard]


# --- what the workers' key can make ---------------------------------------------------------------


async def accepted(server: OperatorServer, claims: Claims, user: Key, signer: Key) -> str:
    """Return the URL of credentials that were made by hand, if the server takes them."""
    creds = Creds(jwt=jwts.signed(claims, signer), seed=user.seed)
    url = server.issuer.url("forged", creds)
    return url if await probe.accepts(url) else ""


async def test_the_workers_key_makes_nothing_but_workers(operator_server: OperatorServer) -> None:
    server, issuer = operator_server, operator_server.issuer
    user = jwts.new_key("user")
    worker = operator.worker_claims(
        user.public, ward("p1"), data=issuer.data, issued_at=now(), expires_at=now() + LIFE_S
    )
    assert await accepted(server, worker, user, issuer.workers)

    def saying(**more: Any) -> Claims:
        return msgspec.structs.replace(worker, nats={**worker.nats, **more})

    own = {"pub": {"allow": [">"]}, "sub": {"allow": [">"]}}
    for refused in (saying(**own), saying(**own, subs=-1, data=-1, payload=-1), saying(subs=-1)):
        assert not await accepted(server, refused, user, issuer.workers)
    ctl = jwts.read(server.shelf.read(bootstrap.claims_of("CTL")) or "").sub
    assert not await accepted(server, saying(issuer_account=ctl), user, issuer.workers)
    assert not await accepted(server, worker, user, jwts.new_key("account"))
    # what has no tags can do nothing, and a template as a tag is no wildcard
    for tags in ([], ["p:{{tag(p)}}", "w:{{tag(w)}}"], ["p:p1"], [f"w:{ward('p1').token}"]):
        url = await accepted(server, saying(tags=tags), user, issuer.workers)
        async with worker_of(url, "p1") as made:
            for subject in (subjects.claims(ward("p1"), "w1"), subjects.claims(ward("p2"), "w1")):
                with pytest.raises(errors.PermissionViolationError):
                    await publish(made, subject)
            with pytest.raises(errors.PermissionViolationError):
                await made.serve(">", _ignore)


async def test_a_worker_with_another_pipelines_ward_or_a_wrong_one_reaches_neither(
    operator_server: OperatorServer,
) -> None:
    server, issuer = operator_server, operator_server.issuer
    await server.declare("p1", "p2")
    user = jwts.new_key("user")
    claims = operator.worker_claims(
        user.public, ward("p1"), data=issuer.data, issued_at=now(), expires_at=now() + LIFE_S
    )
    tags = ["p:p1", f"w:{ward('p2').token}"]
    wrong = msgspec.structs.replace(claims, nats={**claims.nats, "tags": tags})
    url = await accepted(server, wrong, user, issuer.workers)
    async with worker_of(url, "p1") as made:
        for pipeline in ("p1", "p2"):
            with pytest.raises(errors.PermissionViolationError):
                await publish(made, subjects.outcome(ward(pipeline), "a" * 32, 0, 1))


async def publish(made: NatsConnection, subject: str) -> None:
    await made.publish(subject, b"")
    await made.flush()


async def _ignore(_message: Message) -> None:
    return


# --- until when -----------------------------------------------------------------------------------


async def test_an_agent_ends_with_a_sentence_when_its_credentials_have_expired(
    operator_server: OperatorServer,
) -> None:
    """That they would is said before; started again, it waits for others and is not ready."""
    issuer = operator_server.issuer
    async with workers.lab(operator_server) as lab:
        ticket = await lab.shell("true")
        url = await issuer.worker_url(PIPELINE)
        agent = await lab.worker("w1", ticket, data_url=url)
        await lab.claim("w1", lambda claim: claim.pulled_ns > 0)
        async with worker_of(url, PIPELINE, "w2") as other:
            issuer.url(f"{PIPELINE}.worker", issuer.minted(PIPELINE, life_s=4))
            await until(lambda: any("were not renewed" in each for each in other.problems))
            async with asyncio.timeout(15):
                await other.closed()
            assert "expired" in " ".join(other.problems)
        assert await agent.code() == 1
        said = agent.log.read_text()
        assert "credentials count no more, the connection is closed for good" in said
        assert "authentication expired" in said
        async with asyncio.timeout(20):
            while await probe.accepts(url):  # until its last second is over
                await asyncio.sleep(0.05)


async def test_renewed_credentials_cost_a_running_datum_nothing(
    operator_server: OperatorServer, tmp_path: Path
) -> None:
    """The file changes as a mounted Secret does, while a command runs; old credentials then expire.

    1. The agent runs a datum. 2. `..data` leads to other credentials. 3. The server tells of a new
    connection before the old one goes, so that nobody reaps. 4. The command ends; it ran once.
    """
    server, gate = operator_server, tmp_path / "gate"
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount(mounted, "1", server.issuer.minted(PIPELINE, life_s=LIFE_S))
    url = logins.url_of(server._address, mounted / "worker.creds")
    async with (
        workers.lab(server) as lab,
        reaping(server, PIPELINE) as field,
        arrivals(server) as heard,
    ):
        script = f"echo ran >> {tmp_path}/runs; until test -e {gate}; do sleep 0.05; done"
        ticket = await lab.shell(script)
        tasks = await lab.datums(ticket, 3)
        agent = await lab.worker("w1", ticket, data_url=url)
        await lab.executing("w1")
        heard.clear()
        mount(mounted, "2", server.issuer.minted(PIPELINE, life_s=LIFE_S))
        await until(lambda: len(heard) >= 2)
        gate.touch()
        assert {each.state for each in await lab.outcomes(tasks)} == {DatumState.PROCESSED}
        await lab.until_settled(ticket)
        assert (tmp_path / "runs").read_text() == "ran\n" * 3
        assert agent.process.poll() is None
        assert not await lab.has_ledger(tasks[0])  # it was never anybody else's
        assert field.reaper.claim((PIPELINE, "w1")) is not None
        said = [(what, event.client.name) for what, event in heard]
        assert said[:2] == [("connect", "w1"), ("disconnect", "w1")]
        assert heard[0][1].connection != heard[1][1].connection


def mount(directory: Path, version: str, creds: Creds) -> None:
    """Put credentials there as a kubelet does: a new directory, and a link that is replaced."""
    (directory / f"..{version}").mkdir()
    (directory / f"..{version}" / "worker.creds").write_text(creds.text())
    link = directory / "..data_tmp"
    link.symlink_to(f"..{version}")
    link.replace(directory / "..data")
    if not (directory / "worker.creds").is_symlink():
        (directory / "worker.creds").symlink_to("..data/worker.creds")


# --- revoked --------------------------------------------------------------------------------------


@asynccontextmanager
async def sys_user(server: OperatorServer) -> AsyncIterator[NatsConnection]:
    url = server.url("issuer")
    async with connection.connect(url, name="issuer", inbox=subjects.ISSUER_INBOX) as sys:
        yield sys


async def test_what_is_revoked_ends_at_once_and_for_nobody_else(
    operator_server: OperatorServer,
) -> None:
    """A pipeline is deleted, and made anew under its name; the server is started again, too."""
    server, clock = operator_server, SystemClock()

    async def url(issuer: issuing.JwtIssuer, pipeline: str, name: str) -> str:
        made = await issuer.issue(pipeline)
        return server.issuer.url(name, jwts.read_creds(made.text))

    opened = issuing.opened(server.shelf, WARDS, url=server.url("issuer"), clock=clock)
    async with opened as issuer:
        first, other = await url(issuer, "p1", "first"), await url(issuer, "p2", "other")
        async with worker_of(first, "p1") as worker, worker_of(other, "p2") as neighbour:
            await issuer.revoke("p1", 0.0)
            async with asyncio.timeout(10):
                await worker.closed()
            assert "revoked" in " ".join(worker.problems)
            await neighbour.flush()
            assert neighbour.epoch == 0
            assert not await probe.accepts(first)
            await issuer.revoke(
                "p3", 0.0
            )  # one more, so that claims are not what the server began with
            again = await url(issuer, "p1", "again")
            assert await probe.accepts(again)
    await server.restart()
    assert [await probe.accepts(each) for each in (first, again, other)] == [False, True, True]


class Skewed:
    """A clock that is some seconds off."""

    def __init__(self, by_s: int) -> None:
        self._by_ns, self._right = by_s * 10**9, SystemClock()

    def wall_ns(self) -> int:
        return self._right.wall_ns() + self._by_ns

    def monotonic_s(self) -> float:
        return self._right.monotonic_s()


async def test_leaders_whose_clocks_differ_revoke_what_the_other_has_issued_and_nothing_else(
    operator_server: OperatorServer,
) -> None:
    """1. Issued by one that is ahead, revoked by the next: it counts no more. 2. Revoked by the one that is
    ahead, issued by the next: it counts at once. 3. A date that is nobody's clock ends nothing for ever.
    """
    server = operator_server

    def led_by(skew_s: int) -> AbstractAsyncContextManager[issuing.JwtIssuer]:
        clock = Skewed(skew_s)
        return issuing.opened(server.shelf, WARDS, url=server.url("issuer"), clock=clock)

    def url(made: Credentials, name: str) -> str:
        return server.issuer.url(name, jwts.read_creds(made.text))

    async with led_by(300) as ahead:
        first = await ahead.issue("p1")
        assert await probe.accepts(url(first, "first"))
    async with led_by(0) as next_one:
        await next_one.revoke("p1", first.held.issued_at)
        assert not await probe.accepts(url(first, "first"))
        second = await next_one.issue("p1")
        assert await probe.accepts(url(second, "second"))
    async with led_by(600) as ahead:
        await ahead.revoke("p1", second.held.issued_at)
    async with led_by(0) as next_one:
        third = await next_one.issue("p1")
        assert await probe.accepts(url(third, "third"))
        await next_one.revoke("p1", 9e18)
        assert not await probe.accepts(url(third, "third"))
        fourth = await next_one.issue("p1")
    assert await probe.accepts(url(fourth, "fourth"))
    assert fourth.held.issued_at <= now() + issuing.SKEW_S + 1


async def test_a_rotated_key_ends_what_it_has_signed(operator_server: OperatorServer) -> None:
    server = operator_server
    old = {"user": server.url("user"), "worker": await server.issuer.worker_url("p1")}
    async with server.connect_worker("p1") as worker:
        before = (server.shelf.path / "user.creds").read_text()
        assert "user.creds" in server.bootstrap(rotate="user")
        old["user"] = server.issuer.url("old-user", jwts.read_creds(before))
        assert bootstrap.seed_of(bootstrap.WORKERS) in server.bootstrap(rotate=bootstrap.WORKERS)
        await push(server, ("USERS", "DATA"))
        await until(lambda: not worker.connected)
    assert [await probe.accepts(each) for each in old.values()] == [False, False]
    assert await probe.accepts(server.url("user"))
    assert await probe.accepts(server.url("scaler-data"))


async def push(server: OperatorServer, accounts: Sequence[zones.Account]) -> None:
    """Have the server take claims as they are on the shelf, without a restart."""
    async with sys_user(server) as sys:
        for account in accounts:
            signed = server.shelf.read(bootstrap.claims_of(account)) or ""
            await sys.request(subjects.SYS_CLAIMS_UPDATE, signed.encode())
