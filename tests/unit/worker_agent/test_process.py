import asyncio
import os
import signal
import stat
from pathlib import Path

import psutil
import pytest
from tests.support.processes import alive
from tests.support.shim_runs import ENV, Heard, again, run, sh

from trunkline.worker_agent import protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.process import Command


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
