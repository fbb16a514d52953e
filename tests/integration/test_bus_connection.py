"""What a connection promises, against a real server."""

import asyncio
import os
import signal

import pytest
from tests.support import proxy
from tests.support.nats import TestServer
from tests.support.wards import WARDS, ward

from trunkline.bus import accounts
from trunkline.bus.connection import NatsConnection, connect
from trunkline.bus.ports import Message
from trunkline.contracts import errors, subjects
from trunkline.local import server_files


async def test_a_request_over_accounts_is_answered(nats_server: TestServer) -> None:
    async with (
        nats_server.connect("coordinator") as coordinator,
        nats_server.connect("user") as user,
    ):

        async def answer(message: Message) -> None:
            await coordinator.publish(message.reply, b"re: " + message.data)

        await coordinator.serve(subjects.API, answer)
        assert (await user.request(subjects.api("status"), b"hi")).data == b"re: hi"
        assert user.violations == coordinator.violations == 0


async def test_a_request_that_nobody_takes_fails_at_once(nats_server: TestServer) -> None:
    async with nats_server.connect("user") as user, asyncio.timeout(20):
        with pytest.raises(errors.UnavailableError, match="nobody listens"):
            await user.request(subjects.api("status"), b"", timeout_s=60)


async def test_a_refused_subject_fails_the_request_at_once(nats_server: TestServer) -> None:
    async with nats_server.connect("user") as user, asyncio.timeout(20):
        with pytest.raises(errors.PermissionViolationError, match=r"\$JS\.API\.INFO"):
            await user.request("$JS.API.INFO", b"", timeout_s=60)
        assert user.violations == 1


async def test_a_refused_subscription_fails_at_once(nats_server: TestServer) -> None:
    async with nats_server.connect("user") as user, asyncio.timeout(20):

        async def take(message: Message) -> None:
            raise AssertionError(message)

        with pytest.raises(errors.PermissionViolationError):
            await user.serve("trunkline.>", take)


async def test_a_forgotten_inbox_prefix_fails_at_once(nats_server: TestServer) -> None:
    url = nats_server.url("coordinator")
    async with asyncio.timeout(20), connect(url, name="x", inbox="_INBOX") as connection:
        with pytest.raises(errors.PermissionViolationError):
            await connection.request("$JS.API.INFO", b"", timeout_s=60)


async def test_requests_under_way_fail_at_once_when_the_server_dies(
    nats_server: TestServer,
) -> None:
    async with (
        nats_server.connect("coordinator") as coordinator,
        nats_server.connect("user") as user,
    ):
        asked = asyncio.Event()

        async def keep_silent(message: Message) -> None:
            assert message.reply
            asked.set()

        await coordinator.serve(subjects.API, keep_silent)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            asking = user.request(subjects.api("x"), b"", timeout_s=60)
            request = tasks.create_task(_unavailable(asking))
            await asked.wait()
            await nats_server.kill()
            assert "lost" in await request
            assert not user.connected
            with pytest.raises(errors.UnavailableError):
                await user.publish(subjects.APPLY, b"not kept")


async def test_nothing_is_sent_late_and_everything_works_after_a_restart(
    nats_server: TestServer,
) -> None:
    """A message that was refused while the server was away never shows up later."""
    got: list[bytes] = []
    async with (
        nats_server.connect("coordinator") as coordinator,
        nats_server.connect("user") as user,
    ):
        back = asyncio.Event()

        async def take(message: Message) -> None:
            got.append(message.data)
            await coordinator.publish(message.reply, b"ok")

        await coordinator.serve(subjects.API, take)
        coordinator.on_reconnect(back.set)
        async with asyncio.timeout(20):
            await nats_server.kill()
            while user.connected:
                await asyncio.sleep(0)
            with pytest.raises(errors.UnavailableError):
                await user.request(subjects.api("early"), b"early")
            await nats_server.start()
            await back.wait()
            await user.until_connected()
            assert (await user.request(subjects.api("late"), b"late")).data == b"ok"
    assert got == [b"late"]


async def test_connecting_waits_for_the_server_and_for_the_user(nats_server: TestServer) -> None:
    await nats_server.kill()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(_use(nats_server), name="early client")
        await asyncio.sleep(0.1)
        await nats_server.start()


async def test_a_burst_of_publishes_arrives_whole_and_in_order(nats_server: TestServer) -> None:
    got: list[int] = []
    whole = asyncio.Event()
    async with nats_server.connect("user") as user, nats_server.connect("coordinator") as ctl:

        async def take(message: Message) -> None:
            got.append(int(message.data))
            if len(got) == 5000:
                whole.set()

        await ctl.serve(subjects.API, take)
        for number in range(5000):
            await user.publish(subjects.api("x"), b"%d" % number)
        async with asyncio.timeout(20):
            await user.flush()
            await whole.wait()
    assert got == list(range(5000))


async def test_a_silent_server_is_noticed_though_much_waits_for_it(
    nats_server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The server's machine stops. 2. More is sent than sockets hold. 3. Pings end it."""
    monkeypatch.setattr("trunkline.bus.connection.PING_S", 0.2)
    pid = nats_server.pid
    assert pid is not None
    async with asyncio.timeout(20), nats_server.connect("user") as user:
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(errors.UnavailableError):
                await _flood(user)
            assert not user.connected
        finally:
            os.kill(pid, signal.SIGCONT)
        await user.until_connected()


async def test_a_server_that_hangs_is_a_problem_before_it_is_given_up(
    nats_server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.bus.connection.PING_S", 0.5)
    pid = nats_server.pid
    assert pid is not None
    async with asyncio.timeout(20), nats_server.connect("user") as user:
        assert user.problems == []
        os.kill(pid, signal.SIGSTOP)
        try:
            while "NATS does not answer user" not in user.problems:
                await asyncio.sleep(0.01)
            assert user.connected
        finally:
            os.kill(pid, signal.SIGCONT)
        while user.problems:
            await asyncio.sleep(0.01)


async def test_a_user_that_is_taken_away_and_given_back_comes_back(
    nats_server: TestServer,
) -> None:
    async with asyncio.timeout(20), nats_server.connect_worker("p1") as worker:
        files = server_files.Files(nats_server.directory).server()
        with_worker = files.config.read_text()
        settings = accounts.ServerSettings(
            port=nats_server.credentials.port, store_dir=str(files.store), pid_file=str(files.pid)
        )
        without = accounts.render_config(settings, nats_server.credentials.passwords, WARDS)
        files.config.write_text(without)
        assert nats_server.reload()
        while worker.connected:
            await asyncio.sleep(0.01)
        with pytest.raises(errors.UnavailableError):
            await worker.publish(subjects.claims(ward("p1"), "w1"), b"")
        files.config.write_text(with_worker)
        assert nats_server.reload()
        await worker.until_connected()
        await worker.flush()


async def test_a_credential_that_has_expired_closes_the_connection_for_good(
    nats_server: TestServer,
) -> None:
    async with asyncio.timeout(20), nats_server.connect("user") as user:
        await user._wire._process_err("'user authentication expired'")  # as the server words it
        await user.closed()
        assert not user.connected
        with pytest.raises(errors.UnavailableError):
            await user.until_connected()


async def _flood(user: NatsConnection) -> None:
    for _ in range(100):
        await user.publish(subjects.APPLY, bytes(1_000_000))


async def _use(server: TestServer) -> None:
    async with server.connect("user") as user:
        await user.flush()


async def _unavailable(request: object) -> str:
    with pytest.raises(errors.UnavailableError) as caught:
        await request  # type: ignore[misc]
    return str(caught.value)


async def test_a_connection_that_the_server_calls_stale_is_made_anew_and_is_well(
    nats_server: TestServer,
) -> None:
    """A process that was paused has not answered the server's pings.

    1. The server says `Stale Connection` and closes it.
    2. The process goes on, reads that, and connects again.
    3. It said for ever that NATS had ended its connection for good, and was not ready.
    """
    url = nats_server.url("coordinator")
    async with (
        asyncio.timeout(20),
        proxy.between(url) as (between, url_of_proxy),
        connect(url_of_proxy, name="c", inbox=subjects.COORDINATOR_INBOX) as connection,
    ):
        between.say(b"-ERR 'Stale Connection'\r\n")
        while not connection.epoch:
            await asyncio.sleep(0.01)
        await connection.until_connected()
        assert connection.problems == []
