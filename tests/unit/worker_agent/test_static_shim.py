"""The static shim as the first process of a container whose image holds nothing: no shell, no library, no
/proc, no /dev, nothing that can be written to.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from tests.support import shim_header, shims
from tests.support.shims import ShimProcess

from trunkline.worker_agent import static_shim
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.link import ShimLostError, accept
from trunkline.worker_agent.process import Command
from trunkline.worker_agent.protocol import HelloFlag

EMULATOR = shutil.which("qemu-aarch64-static") or ""


class Container:
    """Its root, and the shim in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open = root / "open"
        for each in ("open", "run", "bin", "etc", "pfs", "sys/fs/cgroup"):
            (root / each).mkdir(parents=True)
        root.chmod(0o755)
        self.open.chmod(0o777)
        shutil.copy(static_shim.binary(), root / "bin" / "shim")
        shutil.copy(shims.CACHE / "probe", root / "bin" / "probe")
        (root / "etc" / "passwd").write_text(
            "# who is who here\n\nroot:x:0:0:root:/:\nbroken:x\nworker:x:1234:2345::/:/bin/x\nlast:x:7:8"
        )
        (root / "etc" / "group").write_text(
            f"root:x:0:\nmany:x:77:{'someone,' * 5000}\nfew:x:78:\n"
        )
        (self.open / "events").write_text("low 0\noom 0\noom_kill 5\noom_group_kill 0\n")
        (root / "sys/fs/cgroup/memory.events").symlink_to("/open/events")
        self.socket = f"{root}/run/agent.sock"

    async def start(self) -> ShimProcess:
        command = ["/bin/shim", "/run/agent.sock", "10"]
        argv = [sys.executable, "-m", "tests.support.containers", str(self.root), *command]
        return await shims.come(argv, self.socket)


@pytest.fixture
def container() -> Iterator[Container]:
    with tempfile.TemporaryDirectory() as folder:
        yield Container(Path(folder) / "root")


@pytest.fixture
async def shim(container: Container) -> AsyncIterator[ShimProcess]:
    started = await container.start()
    try:
        yield started
    finally:
        started.end()


def first_process(shim: ShimProcess) -> int:
    (child,) = psutil.Process(shim.process.pid).children()
    return child.pid


async def told(
    shim: ShimProcess, *argv: str, cwd: str = "", user: str = ""
) -> tuple[outcome.Ended, list[str]]:
    printed = bytearray()
    command = Command(argv, {"MINE": "1"}, cwd, inherit_env=True, user=user)
    async with asyncio.timeout(20):
        ran = await shim.runner.run(command, lambda _, data: printed.extend(data))
    return ran.ended, printed.decode().splitlines()


async def test_a_command_runs_where_there_is_nothing(shim):
    hello = await shim.link.hello()
    assert hello.flags == HelloFlag.PFS_MOUNTED
    ended, lines = await told(shim, "probe", "look")
    assert ended == outcome.Exited(0)
    assert lines[0].startswith("pid ")
    assert lines[0].endswith(f"uid {hello.uid} gid {hello.gid} in /")
    assert sorted(line for line in lines[1:] if not line.startswith("group")) == [
        "MINE=1",
        "OF_THE_IMAGE=yes",
        "PATH=/bin",
    ]
    assert (await told(shim, "probe", "exit", "7"))[0] == outcome.Exited(7)
    assert (await told(shim, "sh"))[0] == outcome.NotStarted("sh", 2)
    assert (await told(shim, "probe", cwd="/no"))[0] == outcome.NotStarted("probe", 2, "/no")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_users_are_those_of_the_image(shim):
    known = {
        "worker": (1234, 2345),
        "1234": (1234, 2345),
        "last": (7, 8),
        "7:many": (7, 77),
        "worker:few": (1234, 78),
        "99": (99, 0),
    }
    for user, (uid, gid) in known.items():
        ended, lines = await told(shim, "probe", user=user)
        assert ended == outcome.Exited(0)
        assert lines[0].endswith(f"uid {uid} gid {gid} in /")
        assert "group 0" not in lines


async def test_users_of_other_images_are_not_there(shim):
    for user in ("nobody", "broken", "someone", "#", "1:nogroup"):
        ended, _ = await told(shim, "probe", user=user)
        assert ended == outcome.NotStarted("probe", 2, user=user)


async def test_who_escaped_is_killed_before_the_end_is_told_though_nobody_can_see_processes(
    shim, container
):
    assert (await told(shim, "probe", "escape", "/open/lock"))[0] == outcome.Exited(0)
    with (container.open / "lock").open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert psutil.Process(first_process(shim)).children() == []


async def test_commands_cannot_stop_the_shim_and_the_kubelet_can(shim):
    asked = asyncio.Event()
    shim.link._on_term = asked.set
    assert (await told(shim, "probe", "term"))[0] == outcome.Exited(0)
    assert (await told(shim, "probe", "exit", "1"))[0] == outcome.Exited(1)
    assert not asked.is_set()
    os.kill(first_process(shim), signal.SIGTERM)
    async with asyncio.timeout(10):
        await asked.wait()
    assert (await told(shim, "probe", "exit", "2"))[0] == outcome.Exited(2)
    shim.link.bye()
    assert await shim.code() == 0


async def test_the_kernel_s_own_count_tells_a_kill_for_want_of_memory(shim):
    ended, _ = await told(shim, "probe", "oom", "/open/events")
    assert ended == outcome.Signalled(signal.SIGKILL, oom=True)
    ended, _ = await told(shim, "probe", "oom", "/open/events")  # it counts no more than before
    assert ended == outcome.Signalled(signal.SIGKILL)


async def test_the_next_agent_finds_the_shim_and_nothing_that_ran(shim, container):
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(_lost(shim))
        while not psutil.Process(first_process(shim)).children():
            await asyncio.sleep(0.005)
        shim.link.close()
    async with asyncio.timeout(10):
        connected = await accept(container.socket)
    again = ShimProcess(shim.process, connected)
    assert psutil.Process(first_process(shim)).children() == []
    assert (await told(again, "probe", "exit", "3"))[0] == outcome.Exited(3)
    again.link.close()


async def _lost(shim: ShimProcess) -> None:
    with pytest.raises(ShimLostError):
        await told(shim, "probe", "wait")


async def test_the_end_of_the_container_is_the_end_of_the_line(shim):
    os.kill(first_process(shim), signal.SIGKILL)
    async with asyncio.timeout(10):
        await shim.link.lost.wait()


def test_a_path_or_a_time_that_cannot_be_is_refused():
    for argv in ([], ["/x"], ["/x", "soon"], ["/" + "x" * 200, "1"], ["/x", "-1"], ["/x", "nan"]):
        done = subprocess.run([static_shim.binary(), *argv], check=False, capture_output=True)
        assert (done.returncode, b"usage" in done.stderr) == (64, True)


def test_without_an_agent_the_shim_ends_after_its_time(tmp_path):
    argv = [static_shim.binary(), tmp_path / "no.sock", "0.05"]
    done = subprocess.run(argv, check=False, capture_output=True, timeout=10)
    assert done.returncode == 75
    assert b"no agent on" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", shims.BOTH)
@pytest.mark.parametrize("met", [False, True])
async def test_a_shim_that_is_told_to_stop_waits_some_seconds_for_its_agent_to_come(kind, met):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/agent.sock"
        if met:
            shim = await shims.come(shims.on_path(kind, path, 60), path)
            await shim.link.hello()
            shim.link.close()
            started = shim.process
        else:
            started = subprocess.Popen(shims.on_path(kind, path, 60), stderr=subprocess.DEVNULL)
        started.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(started.wait, 20) in (75, -signal.SIGTERM)


# --- what is built --------------------------------------------------------------------------------


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_each_binary_is_small_and_needs_nothing(machine, number):
    data = static_shim.binary(machine).read_bytes()
    assert len(data) < 100_000
    assert data[:6] == b"\x7fELF\x02\x01"
    assert struct.unpack_from("<HH", data, 16) == (2, number)
    offset, size, count = (
        struct.unpack_from("<Q", data, 32)[0],
        *struct.unpack_from("<HH", data, 54),
    )
    kinds = {struct.unpack_from("<I", data, offset + size * at)[0] for at in range(count)}
    assert not kinds & {2, 3}  # neither dynamically linked nor interpreted


@pytest.mark.skipif(not EMULATOR, reason="no emulator of arm64 here")
async def test_the_one_for_arm64_runs():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/agent.sock"
        shim = await shims.come([EMULATOR, str(static_shim.binary("aarch64")), path, "10"], path)
        try:
            assert (await told(shim, "sh", "-c", "exit $MINE"))[0] == outcome.Exited(1)
            assert (await told(shim, "/no/such"))[0] == outcome.NotStarted("/no/such", 2)
            await shim.link.chmod(folder)
        finally:
            shim.end()


def test_it_is_handed_over_whole_and_for_anybody(tmp_path):
    place = static_shim.hand_over(tmp_path)
    assert static_shim.hand_over(tmp_path) == place  # over an older one
    assert place.read_bytes() == static_shim.binary().read_bytes()
    assert place.stat().st_mode & 0o777 == 0o555
    assert list(tmp_path.iterdir()) == [place]


def test_a_machine_that_it_is_not_built_for_is_named():
    with pytest.raises(static_shim.ShimNotBuiltError, match="make shim"):
        static_shim.binary("pdp11")


def test_the_header_is_that_of_the_protocol():
    assert shim_header.HEADER.read_text() == shim_header.rendered()
