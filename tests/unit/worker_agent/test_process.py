import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from tests.support import shims

from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent import protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.link import Link, ShimLostError, accept
from trunkline.worker_agent.process import Command, Runner
from trunkline.worker_agent.protocol import HelloFlag, Kind

ENV = {"PATH": os.environ["PATH"]}


class Heard:
    def __init__(self):
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.more = asyncio.Event()

    def __call__(self, stream, data):
        getattr(self, stream).extend(data)
        self.more.set()

    async def until(self, text: bytes) -> None:
        while text not in self.stdout:
            self.more.clear()
            await self.more.wait()


async def run(shim, *argv, heard=None, timeout_s=None, stdin=b"", env=None, cwd="", umask=0o022):
    command = Command(argv, ENV if env is None else env, cwd, stdin, umask)
    return await again(shim, command, heard, timeout_s=timeout_s)


async def again(shim, command, heard=None, *, own=None, timeout_s=None):
    async with asyncio.timeout(20):
        return await shim.runner.run(command, heard or Heard(), own=own, timeout_s=timeout_s)


def sh(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while alive(pid):
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_command_runs_with_its_arguments_environment_and_directory(shim, tmp_path):
    heard = Heard()
    told = await run(
        shim,
        *sh('echo "$0 $NAME $(pwd) $(umask)"; echo oops >&2; exit 3'),
        heard=heard,
        env={**ENV, "NAME": "wörk=er"},
        cwd=str(tmp_path),
        umask=0o027,
    )
    assert told.ended == outcome.Exited(3)
    assert heard.stdout.decode() == f"sh wörk=er {tmp_path} 0027\n"
    assert heard.stderr == b"oops\n"
    assert told.wall_s > 0


async def test_the_environment_is_the_given_one_only(shim):
    heard = Heard()
    await run(shim, "env", heard=heard, env={"PATH": os.environ["PATH"], "A": "1"})
    assert sorted(heard.stdout.decode().splitlines()) == sorted(["A=1", f"PATH={ENV['PATH']}"])


async def test_a_command_leads_a_session_of_its_own_with_default_signals(shim):
    heard = Heard()
    told = await run(
        shim, "cat", "/proc/self/stat", "/proc/self/status", heard=heard, stdin=b"ignored"
    )
    assert told.ended == outcome.Exited(0)
    lines = heard.stdout.decode().splitlines()
    pid, _, _, _, group, session, *_ = lines[0].split()
    assert pid == group == session
    status = dict(line.split(":\t", 1) for line in lines[1:] if ":\t" in line)
    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) & 0x7FFFFFFF == 0  # 32 and 33 are the C library's own


@pytest.mark.parametrize(
    ("argv", "number"),
    [
        (("no-such-command-anywhere",), 2),
        (("/no/such/file",), 2),
        (("/etc/passwd",), 13),
        (("/",), 13),
        (("",), 2),
        (("sh", "-c", "a\0b"), 22),
        (("echo", "x" * 300_000), 7),
    ],
)
async def test_a_command_that_cannot_be_started_says_why(shim, argv, number):
    told = await run(shim, *argv)
    assert told.ended == outcome.NotStarted(argv[0], number)
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def test_a_directory_that_is_not_there_is_an_error_of_the_command(shim, tmp_path):
    told = await run(shim, "true", cwd=str(tmp_path / "no"))
    assert told.ended == outcome.NotStarted("true", 2, str(tmp_path / "no"))


async def test_a_variable_without_a_name_is_an_error_of_the_command(shim):
    told = await run(shim, "true", env={"PATH": ENV["PATH"], "": "x"})
    assert isinstance(told.ended, outcome.NotStarted)
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def test_the_commands_own_path_finds_it(shim, tmp_path):
    tool = tmp_path / "mytool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    heard = Heard()
    told = await run(shim, "mytool", heard=heard, env={"PATH": f"/nowhere:{tmp_path}"})
    assert (told.ended, bytes(heard.stdout)) == (outcome.Exited(0), b"mine\n")


async def test_a_signal_is_told(shim):
    assert (await run(shim, *sh("kill -USR1 $$"))).ended == outcome.Signalled(signal.SIGUSR1)


async def test_a_command_over_its_time_is_killed_with_its_group(shim, tmp_path):
    told = await run(shim, *sh(f"sleep 60 & echo $! > {tmp_path}/pid; wait"), timeout_s=0.3)
    assert told.ended == outcome.TimedOut(0.3)
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_children_that_outlive_the_command_are_killed(shim, tmp_path):
    told = await run(shim, *sh(f"sleep 60 & echo $! > {tmp_path}/pid"))
    assert told.ended == outcome.Exited(0)
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_what_escaped_into_other_sessions_is_killed_before_the_end_is_told(shim, tmp_path):
    script = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        open("{tmp_path}/pid", "w").write(str(os.getpid()))
    time.sleep(60)
while not os.path.exists("{tmp_path}/pid") or not open("{tmp_path}/pid").read():
    time.sleep(0.01)
"""
    told = await run(shim, "python3", "-c", script)
    assert told.ended == outcome.Exited(0)
    assert not alive(int((tmp_path / "pid").read_text()))


async def test_stdin_is_given_and_need_not_be_read(shim):
    heard = Heard()
    stdin = b"line\n" * 1_000_000
    assert (await run(shim, "wc", "-l", heard=heard, stdin=stdin)).ended == outcome.Exited(0)
    assert heard.stdout.split()[0] == b"1000000"
    assert (await run(shim, "true", stdin=stdin)).ended == outcome.Exited(0)
    assert (await run(shim, "sh", stdin=b"read x\nfirst\nexit 7\n")).ended == outcome.Exited(7)


async def test_without_stdin_there_is_nothing_to_read(shim):
    assert (await run(shim, "cat")).ended == outcome.Exited(0)


async def test_a_flood_of_output_is_read_to_its_end(shim):
    size = 0

    def count(_stream, data):
        nonlocal size
        size += len(data)

    command = Command(sh("head -c 50000000 /dev/zero"), ENV)
    async with asyncio.timeout(20):
        told = await shim.runner.run(command, count)
    assert (told.ended, size) == (outcome.Exited(0), 50_000_000)


async def test_cancelling_kills_and_waits_for_the_end(shim):
    heard = Heard()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(shim, *sh("sleep 60 & echo $!; wait"), heard=heard))
        async with asyncio.timeout(10):
            await heard.until(b"\n")
        pid = int(heard.stdout)
        assert alive(pid)
        task.cancel()
    assert task.cancelled()
    assert not alive(pid)
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def test_a_shim_that_is_killed_is_told_at_once(shim):
    heard = Heard()

    async def lost() -> float:
        with pytest.raises(ShimLostError):
            await run(shim, *sh("echo $$; sleep 60"), heard=heard)
        return time.monotonic()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(lost())
        async with asyncio.timeout(10):
            await heard.until(b"\n")
        shim.process.kill()
        killed_s = time.monotonic()
    os.kill(int(heard.stdout), signal.SIGKILL)
    assert task.result() - killed_s < 2
    assert shim.link.lost.is_set()
    with pytest.raises(ShimLostError):
        await run(shim, "true")


async def test_without_its_agent_the_shim_kills_everything(shim):
    heard = Heard()

    async def lost():
        with pytest.raises(ShimLostError):
            await run(shim, *sh("setsid sleep 60 & echo $!; echo $$; exec sleep 60"), heard=heard)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lost())
        async with asyncio.timeout(10):
            while heard.stdout.count(b"\n") < 2:
                heard.more.clear()
                await heard.more.wait()
        shim.link.close()
    await shim.left_us()
    for pid in heard.stdout.split():
        await gone(int(pid))


async def test_bye_ends_the_shim_with_zero(shim):
    shim.link.bye()
    assert await shim.code() == 0


async def test_sigterm_is_told_to_the_agent_and_the_shim_goes_on(shim):
    told = asyncio.Event()
    shim.link._on_term = told.set
    shim.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await told.wait()
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def test_garbage_from_the_agent_ends_the_connection(shim):
    shim.link._socket.send(b"\xff" * 64)
    await shim.left_us()


async def test_frames_of_a_newer_agent_are_skipped(shim):
    shim.link._socket.send(b"\x05\0\0\0\x63\x01\0\0\0")
    assert (await run(shim, "true")).ended == outcome.Exited(0)


async def meet(path: str, *, terminating: bool) -> Link:
    async with asyncio.timeout(10):
        link = Link(await accept(path))
        told_to_end = asyncio.Event()
        link._on_term = told_to_end.set
        assert not Path(path).exists()  # while it is there, nobody else can come
        hello = await link.hello()
        if terminating and HelloFlag.TERMINATING not in hello.flags:
            await told_to_end.wait()  # the signal came between its HELLO and our look
    assert terminating or HelloFlag.TERMINATING not in hello.flags
    heard = Heard()
    told = await Runner(link, clock=SystemClock()).run(Command(sh("echo hi"), ENV), heard)
    assert (told.ended, bytes(heard.stdout)) == (outcome.Exited(0), b"hi\n")
    return link


@pytest.mark.parametrize("kind", shims.BOTH)
async def test_a_shim_on_a_path_serves_one_agent_after_the_other(kind):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/agent.sock"
        argv = shims.on_path(kind, path)
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as started:
            try:
                first = await meet(path, terminating=False)
                first.close()
                started.send_signal(signal.SIGTERM)
                second = await meet(path, terminating=True)
                second.bye()
                async with asyncio.timeout(10):
                    await second.lost.wait()
                assert await asyncio.to_thread(started.wait, 10) == 0
            finally:
                started.kill()


async def test_what_a_command_wrote_can_be_opened_up(shim, tmp_path):
    out = tmp_path / "out"
    deep = out / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (deep / "file").chmod(0o000)
    (out / "a").chmod(0o100)
    (out / "link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat().st_mode
    error, entries = await shim.link.chmod(str(out))
    assert (error, entries) == (0, 4)
    assert stat.S_IMODE((deep / "file").stat().st_mode) == 0o660
    assert stat.S_IMODE((out / "a").stat().st_mode) == 0o770
    assert Path("/etc/passwd").stat().st_mode == before


async def test_the_shim_opens_files_and_follows_links_unless_told_not_to(shim, tmp_path):
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with os.fdopen(await shim.link.open(str(tmp_path / name))) as file:
            assert file.read() == "content"
    with pytest.raises(OSError, match="symbolic"):
        await shim.link.open(str(tmp_path / "link"), os.O_NOFOLLOW)


async def test_many_commands_leave_no_descriptor_behind(shim):
    async def some() -> None:
        for _ in range(protocol.RECIPES):
            assert (await run(shim, "true", stdin=b"x")).ended == outcome.Exited(0)
            await run(shim, "no-such-command")

    await some()
    ours = len(list(Path("/proc/self/fd").iterdir()))
    theirs = psutil.Process(shim.process.pid).num_fds()
    await some()
    assert len(list(Path("/proc/self/fd").iterdir())) == ours
    assert psutil.Process(shim.process.pid).num_fds() == theirs


async def test_runs_of_one_command_differ_in_their_own_variables_only(shim):
    heard = Heard()
    command = Command(sh("echo $A $B $C"), {**ENV, "A": "1", "B": "2"})
    await again(shim, command, heard, own={"B": "own"})
    await again(shim, command, heard, own={"C": "3"})
    await again(shim, command, heard)
    assert heard.stdout == b"1 own\n1 2 3\n1 2\n"


async def test_each_run_reads_the_same_lines_from_their_beginning(shim):
    heard = Heard()
    script = "read x; echo $x; echo oops > /dev/stdin; echo oops > /proc/self/fd/0"
    command = Command(sh(script), ENV, stdin=b"first\nsecond\n")
    for _ in range(3):
        await again(shim, command, heard)
    assert heard.stdout == b"first\n" * 3


async def test_what_a_command_does_to_its_output_is_undone_for_the_next_one(shim):
    flags = "import fcntl; print(fcntl.fcntl(1, fcntl.F_GETFL), fcntl.fcntl(2, fcntl.F_GETFL))"
    spoil = "import os; os.set_blocking(1, False); os.set_blocking(2, False)"
    before, after = Heard(), Heard()
    await run(shim, "python3", "-c", flags, heard=before)
    await run(shim, "python3", "-c", spoil)
    await run(shim, "python3", "-c", flags, heard=after)
    assert before.stdout == after.stdout


async def test_a_run_hears_nothing_of_the_one_before(shim):
    first, second = Heard(), Heard()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(shim, *sh("echo a; exec yes"), heard=first))
        async with asyncio.timeout(10):
            await first.until(b"y\n")
        task.cancel()
    await run(shim, *sh("echo mine"), heard=second)
    assert second.stdout == b"mine\n"


async def until(kind: Kind, connected: socket.socket) -> tuple[protocol.Frame, list[int]]:
    """Read as a shim does, up to a frame of this kind."""
    decoder, descriptors = protocol.Decoder(), []
    while True:
        data, found, _, _ = await asyncio.to_thread(socket.recv_fds, connected, 65536, 16)
        descriptors += found
        for frame in decoder.feed(data):
            if frame.kind == kind:
                return frame, descriptors


async def test_pipes_that_something_unkillable_holds_are_given_to_nobody_else():
    ours, theirs = socket.socketpair()
    runner = Runner(Link(ours), clock=SystemClock())
    command, heard = Command(("x",), {}), Heard()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(command, Heard()))
        spawn, (_, old, _) = await until(Kind.SPAWN, theirs)
        theirs.sendall(protocol.exited(spawn.id, protocol.Exited(0, left=1)))
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(command, heard))
        spawn, (_, new, _) = await until(Kind.SPAWN, theirs)
        with pytest.raises(BrokenPipeError):
            os.write(old, b"late")
        os.write(new, b"mine")
        theirs.sendall(protocol.exited(spawn.id, protocol.Exited(0)))
    assert heard.stdout == b"mine"
    theirs.close()


async def test_a_command_by_a_recipe_that_is_not_there_ends_the_connection(shim):
    shim.link._socket.send(protocol.spawn(1, 9, {}))
    await shim.left_us()


async def test_a_recipe_without_its_descriptors_ends_the_connection(shim):
    shim.link._socket.send(protocol.recipe(0, protocol.Recipe(("true",), {})))
    await shim.left_us()
