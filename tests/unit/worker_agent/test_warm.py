"""A command that stays up, in a real shim: which datum is charged for what it does."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from tests.support import shims

from trunkline.runtime.clock import SystemClock
from trunkline.worker_agent import files, process
from trunkline.worker_agent.core import asking, outcome
from trunkline.worker_agent.core.outcome import Exited, Left, NotReady, Signalled, TimedOut, Told
from trunkline.worker_agent.files import Workspace
from trunkline.worker_agent.link import ShimLostError
from trunkline.worker_agent.process import Command
from trunkline.worker_agent.warm import Wanted, Warm

TOOLS = str(Path(sys.executable).parent)
ENV = {"PATH": f"{os.environ['PATH']}{os.pathsep}{TOOLS}"}
LOOP = "import os, sys, time, trunkline.worker\nfor datum in trunkline.worker.datums():\n    "


class Bench:
    """A workspace, and one command that stays up in it."""

    def __init__(self, shim: shims.ShimProcess, home: Path) -> None:
        self.shim = shim
        self.space = Workspace(home)
        self.space.prepare()
        self.warm = Warm(
            process.Runner(shim.link, clock=SystemClock()),
            self.space,
            clock=SystemClock(),
            pfs=str(self.space.pfs),
            start_s=30.0,
        )
        self.printed = b""

    def take(self, _: str, data: bytes) -> None:
        self.printed += data

    async def run(
        self, *argv: str, name: str = "d1", timeout_s: float | None = None, **variables: str
    ) -> process.Run:
        """Have a datum worked on; what is printed meanwhile is in `printed` then."""
        self.printed = b""
        env = {"NAME": name, **variables}
        lines = asking.datum(name, {}, str(self.space.pfs / "out"), env)
        command = Command(argv, ENV, str(self.space.work))
        async with asyncio.timeout(20):
            return await self.warm.run(Wanted(command, argv, env, lines, timeout_s), self.take)

    async def python(self, text: str, **more) -> process.Run:
        return await self.run(sys.executable, "-c", text, **more)

    async def sh(self, text: str, **more) -> process.Run:
        return await self.run("sh", "-c", text, **more)

    async def connected(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        path = str(self.space.pfs / files.DOOR / "next")
        await asyncio.get_running_loop().sock_connect(one, path)
        return one


def reason(run: process.Run) -> str:
    verdict = outcome.judge(run.ended, (0,))
    assert isinstance(verdict, outcome.Bad)
    return verdict.reason


@pytest.fixture
async def bench(tmp_path):
    started = shims.of_pair()
    async with asyncio.timeout(10):
        await started.link.hello()
    made = Bench(started, tmp_path / "home")
    yield made
    await made.warm.end()
    started.end()


async def test_either_shim_keeps_a_command_up(shim, tmp_path):
    bench = Bench(shim, tmp_path / "home")
    for _ in range(2):
        assert (await bench.python(LOOP + "print(datum.id)")).ended == Exited(0)
        assert bench.printed == b"d1\n"
    assert (await bench.python(LOOP + "sys.exit(3)")).ended == Left(Exited(3), ready=True)
    await bench.warm.end()


async def test_datums_are_handed_to_one_process_and_their_output_is_told_apart(bench):
    text = LOOP + "print(os.getpid(), datum.id, os.environ['NAME'])"
    pids = set()
    for name in ("d1", "d2", "d3"):
        run = await bench.python(text, name=name)
        assert run.ended == Exited(0)
        pid, *named = bench.printed.decode().split()
        assert named == [name, name]
        assert run.cpu_s > 0
        assert run.peak_rss_bytes > 1_000_000
        pids.add(pid)
    assert len(pids) == 1
    assert bench.warm.up


async def test_an_environment_that_no_socket_takes_at_once_arrives_whole(bench):
    large = {f"LARGE{number}": str(number) * 90_000 for number in range(8)}
    text = LOOP + "print(os.environ['NAME'], *(len(os.environ[f'LARGE{at}']) for at in range(8)))"
    for name in ("d1", "d2"):
        run = await bench.python(text, name=name, **large)
        assert run.ended == Exited(0)
        assert bench.printed.decode().split() == [name, *["90000"] * 8]


@pytest.mark.parametrize("then", ["one.close()", "one.sendall(b'next\\n')"])
async def test_who_has_not_read_its_whole_answer_has_failed_that_datum_and_may_go_on(bench, then):
    text = (
        "import os, socket, trunkline.worker\n"
        "one = socket.socket(socket.AF_UNIX); one.connect(os.environ['TRUNKLINE_SOCKET'])\n"
        f"one.sendall(b'next\\n'); one.recv(1); {then}\n"
        "for datum in trunkline.worker.datums(): print(datum.id)"
    )
    large = {f"LARGE{number}": "x" * 90_000 for number in range(8)}
    assert (await bench.python(text, **large)).ended == Told(asking.UNREAD)
    assert (await bench.python(text, name="d2", **large)).ended == Exited(0)
    assert bench.printed == b"d2\n"


async def test_an_error_of_blanks_only_is_an_error(bench):
    assert (await bench.python(LOOP + "datum.error = ' '")).ended == Told("it has failed")


async def test_an_error_within_a_datum_is_that_datums_alone(bench):
    text = LOOP + "with datum:\n        assert datum.id != 'bad', 'not\\nthis one'"
    assert (await bench.python(text)).ended == Exited(0)
    assert (await bench.python(text, name="bad")).ended == Told("AssertionError: not this one")
    assert b"Traceback" in bench.printed
    assert (await bench.python(text)).ended == Exited(0)


async def test_an_error_that_leaves_the_loop_costs_the_process_and_one_datum(bench):
    text = LOOP + "assert datum.id != 'bad'\n    print(os.getpid())"
    await bench.python(text)
    first = bench.printed
    assert (await bench.python(text, name="bad")).ended == Left(Exited(1), ready=True)
    assert b"Traceback" in bench.printed
    assert (await bench.python(text)).ended == Exited(0)
    assert bench.printed != first


async def test_a_process_that_ends_well_within_a_datum_has_not_done_it(bench):
    run = await bench.python(LOOP + "sys.exit(0)")
    assert run.ended == Left(Exited(0), ready=True)
    assert "ended before it asked for the next datum" in reason(run)


async def test_a_command_that_never_asks_fails_its_datum_when_it_ends(bench):
    run = await bench.sh("echo cold; exit 0")
    assert run.ended == Left(Exited(0), ready=False)
    assert bench.printed == b"cold\n"
    assert "before it asked for a first datum" in reason(run)


async def test_a_command_that_never_asks_and_never_ends_is_killed(bench):
    bench.warm._start_s = 0.1
    assert (await bench.sh("sleep 100")).ended == NotReady(0.1)
    assert not bench.warm.up


async def test_a_command_that_cannot_be_started_says_why(bench):
    assert (await bench.run("no-such-command")).ended == outcome.NotStarted("no-such-command", 2)


async def test_a_process_killed_within_a_datum_costs_that_datum(bench):
    text = LOOP + "os.kill(os.getpid(), 9) if datum.id == 'bad' else None"
    assert (await bench.python(text)).ended == Exited(0)
    assert (await bench.python(text, name="bad")).ended == Left(Signalled(9), ready=True)
    assert (await bench.python(text)).ended == Exited(0)


async def test_a_process_that_goes_while_it_waits_costs_nobody_anything(bench):
    text = LOOP + "print(os.getpid())"
    await bench.python(text)
    os.kill(int(bench.printed), signal.SIGKILL)
    async with asyncio.timeout(10):
        while bench.warm.up:
            await asyncio.sleep(0.005)
    assert (await bench.python(text)).ended == Exited(0)


async def test_a_process_that_asks_and_goes_at_once_is_not_started_for_ever(bench):
    text = "import trunkline.worker as w; line = w._Line(); line._socket.sendall(b'next\\n')"
    for _ in range(3):
        assert (await bench.python(text)).ended == Left(Exited(0), ready=True)


async def test_the_limit_of_a_datum_ends_the_process(bench):
    text = LOOP + "time.sleep(100 if datum.id == 'slow' else 0)"
    assert (await bench.python(text, timeout_s=5.0)).ended == Exited(0)
    assert (await bench.python(text, name="slow", timeout_s=0.2)).ended == TimedOut(0.2)
    assert (await bench.python(text, timeout_s=5.0)).ended == Exited(0)


async def test_cutting_a_datum_short_ends_the_process(bench):
    task = asyncio.get_running_loop().create_task(bench.python(LOOP + "time.sleep(100)"))
    async with asyncio.timeout(10):
        while not (bench.warm._up and bench.warm._up.door.busy):
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not bench.warm.up
    assert list(bench.space.pfs.iterdir()) == []


async def test_the_end_lets_the_command_end_well(bench):
    done = bench.space.pfs.parent / "done"
    text = LOOP + f"pass\nopen({str(done)!r}, 'w').close()"
    await bench.python(text)
    await bench.warm.end()
    assert done.exists()
    assert list(bench.space.pfs.iterdir()) == []


async def test_another_transform_is_another_process(bench):
    await bench.python(LOOP + "print(1)")
    await bench.python(LOOP + "print(2)")
    assert bench.printed == b"2\n"


async def test_a_shell_loops_over_datums_too(bench):
    script = """
        echo first > kept
        while eval "$(trunkline-next ${failed:+--error "$failed"})"; do
            failed=; test "$NAME" != bad || failed="it's bad"
            echo "$NAME $(cat kept)"
        done; echo over >&2; touch "$PWD/../done"
    """
    assert (await bench.sh(script, name="it's d1")).ended == Exited(0)
    assert bench.printed == b"it's d1 first\n"
    assert (await bench.sh(script, name="bad")).ended == Told("it's bad")
    assert (await bench.sh(script, name="d3")).ended == Exited(0)
    await bench.warm.end()
    assert (bench.space.work.parent / "done").exists()
    assert list(bench.space.work.iterdir()) == []


async def test_who_says_nonsense_is_told_so_and_harms_nobody(bench):
    text = LOOP + "print(os.getpid())"
    await bench.python(text)
    pid, loop = bench.printed, asyncio.get_running_loop()
    said = [b"next\n", b"next\nnext\n", b"\0\xff\n", b"next x\n", b"x" * 100_000]
    for each in said:
        with await bench.connected() as one:
            await loop.sock_sendall(one, each)
            async with asyncio.timeout(10):
                answer = await loop.sock_recv(one, 1000)
            assert answer.startswith(b"error ")
    idle = [await bench.connected() for _ in range(100)]
    for each in idle[:90]:
        each.close()
    assert (await bench.python(text)).ended == Exited(0)
    assert bench.printed == pid
    for each in idle:
        each.close()


async def test_a_command_may_print_for_ever_without_holding_the_worker_up(bench):
    text = (
        "import threading, os, trunkline.worker\n"
        "def flood():\n    while True: os.write(1, b'x' * 65536)\n"
        "threading.Thread(target=flood, daemon=True).start()\n"
        "for datum in trunkline.worker.datums(): pass"
    )
    for _ in range(3):
        assert (await bench.python(text)).ended == Exited(0)


async def test_the_shims_end_is_the_commands(bench):
    await bench.python(LOOP + "pass")
    bench.shim.process.kill()
    async with asyncio.timeout(10):
        await bench.shim.link.lost.wait()
    with pytest.raises(ShimLostError):
        await bench.python(LOOP + "pass")
