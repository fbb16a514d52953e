"""What both shims do, beyond what running commands shows (test_process.py, test_shim_and_agent.py)."""

import asyncio
import os
import resource
import signal
import socket
import struct
import tempfile
from pathlib import Path

import psutil
import pytest
from tests.support.shims import ShimProcess

from trunkline.worker_agent import protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.link import SpawnError
from trunkline.worker_agent.process import Command
from trunkline.worker_agent.protocol import Kind, Recipe, RecipeFlag, Step

PATH = os.environ["PATH"]
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


async def told(
    shim: ShimProcess, *argv: str, cwd: str = "", user: str = "", inherit_env: bool = False
) -> tuple[outcome.Ended, str]:
    """Run a command and return how it ended and what it printed."""
    printed = bytearray()

    def take(_stream: str, data: bytes) -> None:
        printed.extend(data)

    command = Command(argv, {"PATH": PATH}, cwd, user=user, inherit_env=inherit_env)
    async with asyncio.timeout(20):
        ran = await shim.runner.run(command, take)
    return ran.ended, printed.decode()


def send(shim: ShimProcess, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
    socket.send_fds(shim.link._socket, [data], descriptors)


# --- how it is started ----------------------------------------------------------------------------


async def test_a_shim_says_first_who_it_is(shim):
    hello = await shim.link.hello()
    assert (hello.version, hello.uid, hello.gid) == (protocol.VERSION, os.getuid(), os.getgid())


async def test_the_image_s_environment_lies_below_the_command_s(shim):
    env = {"PATH": PATH, "MINE": "1", "OF_THE_IMAGE": "no more"}
    show = ("sh", "-c", "echo $OF_THE_IMAGE $MINE")
    assert (await told(shim, *show, inherit_env=True))[1] == "yes\n"
    command = Command(show, env, inherit_env=True)
    heard = bytearray()
    async with asyncio.timeout(20):
        await shim.runner.run(command, lambda _, data: heard.extend(data), own={"MINE": "2"})
    assert heard == b"no more 2\n"


async def test_of_a_variable_that_is_there_twice_the_last_one_counts(shim):
    heard, ours = os.pipe()
    text = b"sh\0-c\0echo $A $B\0"
    variables = b"A=1\0B=0\0A=2\0"
    counts = struct.pack("<II", 0, 0o22), struct.pack("<I", 3)
    payload = b"".join([counts[0], b"\0\0", counts[1], text, counts[1], variables])
    null = os.open(os.devnull, os.O_RDWR)
    send(shim, protocol.frame(Kind.RECIPE, 0, payload), (null, ours, null))
    os.close(null)
    child = shim.link.spawn(0, "sh", {"B": "own"})
    async with asyncio.timeout(10):
        assert (await child.ended()).status == 0
    assert os.read(heard, 100) == b"2 own\n"
    os.close(heard)
    os.close(ours)


async def test_where_no_directory_is_said_it_is_the_shim_s_whatever_the_last_one_was(shim):
    assert (await told(shim, "pwd", cwd="/"))[1] == "/\n"
    assert (await told(shim, "pwd"))[1] == f"{Path.cwd()}\n"
    assert (await told(shim, "pwd", cwd=".."))[1] == f"{Path.cwd().parent}\n"


async def test_a_command_has_no_descriptor_but_its_own(shim):
    script = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:4])"
    assert (await told(shim, "python3", "-c", script))[1] == "[0, 1, 2, 3]\n"  # 3 is the directory


async def test_a_directory_is_no_command_and_hides_none(shim, tmp_path):
    (tmp_path / "a" / "tool").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "tool").write_text("#!/bin/sh\necho found\n")
    path = f"{tmp_path}/a:{tmp_path}/b"
    heard = bytearray()
    refused = Command(("tool",), {"PATH": path})
    async with asyncio.timeout(20):
        ran = await shim.runner.run(refused, lambda *_: None)
        assert ran.ended == outcome.NotStarted("tool", 13)
        (tmp_path / "b" / "tool").chmod(0o755)
        ran = await shim.runner.run(refused, lambda _, data: heard.extend(data))
    assert (ran.ended, bytes(heard)) == (outcome.Exited(0), b"found\n")


# --- whom it runs as ------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("nobody", "65534 65534"),
        ("65534", "65534 65534"),
        ("nobody:0", "65534 0"),
        ("12345", "12345 0"),
        ("12345:nogroup", "12345 65534"),
        ("root", "0 0"),
    ],
)
async def test_a_user_is_found_by_name_and_by_number(shim, user, ids):
    ended, text = await told(shim, "sh", "-c", "echo $(id -u) $(id -g)", user=user)
    assert (ended, text) == (outcome.Exited(0), f"{ids}\n")


@as_root
async def test_another_user_has_no_group_of_root_s(shim):
    assert "0" not in (await told(shim, "id", "-G", user="nobody"))[1].split()


@as_root
async def test_another_user_s_command_leads_a_session_and_is_killed_as_any_other(shim):
    script = "setsid sleep 60 & sleep 60 & ps -o sid= -p $$; echo $$"
    ended, text = await told(shim, "sh", "-c", script, user="nobody")
    assert (ended, len(set(text.split()))) == (outcome.Exited(0), 1)
    assert psutil.Process(shim.process.pid).children() == []


@pytest.mark.parametrize("user", ["no-such-user", "4294967295", "0:no-such-group", ":", ":0"])
async def test_a_user_that_is_not_there_is_an_error_of_the_command(shim, user):
    ended, _ = await told(shim, "true", user=user)
    assert ended == outcome.NotStarted("true", 2, user=user)
    assert (await told(shim, "true", user=str(os.getuid())))[0] == outcome.Exited(0)


@as_root
async def test_another_user_s_command_that_is_not_there_is_told_as_any_other(shim, tmp_path):
    assert (await told(shim, "no-such", user="nobody"))[0] == outcome.NotStarted("no-such", 2)
    tmp_path.chmod(0o700)
    ended, _ = await told(shim, "true", user="nobody", cwd=str(tmp_path))
    assert ended == outcome.NotStarted("true", 13, directory=str(tmp_path))


# --- what it took, and how it ends ----------------------------------------------------------------


async def test_time_and_memory_are_the_command_s_and_its_children_s(shim):
    # a shim in Python that we have started has our own peak, and knows none below that
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 60_000_000
    script = f"""
import os, time
text = "x" * {size}
if os.fork() == 0:
    while sum(os.times()[:2]) < 0.2:
        pass
    os._exit(0)
os.wait()
"""
    command = Command(("python3", "-c", script), {"PATH": PATH})
    async with asyncio.timeout(20):
        ran = await shim.runner.run(command, lambda *_: None)
    assert ran.ended == outcome.Exited(0)
    assert 0.15 < ran.cpu_s < 10
    assert size < ran.peak_rss_bytes < size + 440_000_000
    async with asyncio.timeout(20):
        small = await shim.runner.run(Command(("true",), {"PATH": PATH}), lambda *_: None)
    assert small.peak_rss_bytes < 10_000_000  # not what the shim had before it became the command


async def test_a_signal_reaches_the_whole_group_and_no_other(shim):
    null = os.open(os.devnull, os.O_RDWR)
    read, write = os.pipe()
    script = "(trap 'exit 0' USR1; echo ready; while :; do sleep 0.01; done) & trap : USR1; wait $!; wait $!; exit 5"
    shim.link.recipe(0, Recipe(("sh", "-c", script), {"PATH": PATH}), (null, write, null))
    shim.link.recipe(1, Recipe(("sleep", "60"), {"PATH": PATH}), (null, null, null))
    other = shim.link.spawn(1, "sleep", {})
    child = shim.link.spawn(0, "sh", {})
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(os.read, read, 100) == b"ready\n"
        shim.link.kill(child, signal.SIGUSR1)
        assert os.waitstatus_to_exitcode((await child.ended()).status) == 5
        assert other.running
        shim.link.kill(other, signal.SIGTERM)
        assert os.waitstatus_to_exitcode((await other.ended()).status) == -signal.SIGTERM
    for each in (null, read, write):
        os.close(each)


async def test_orphans_are_reaped_while_the_command_runs(shim):
    script = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
print(flush=True)
time.sleep(60)
"""
    task_started = asyncio.Event()
    command = Command(("python3", "-c", script), {"PATH": PATH})
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(shim.runner.run(command, lambda *_: task_started.set()))
        await task_started.wait()
        while len(psutil.Process(shim.process.pid).children()) != 1:
            await asyncio.sleep(0.01)
        task.cancel()


async def test_a_thousand_commands_leave_neither_descriptor_nor_process_nor_memory(shim):
    null = os.open(os.devnull, os.O_RDWR)
    large = {"PATH": PATH, "LARGE": "x" * 100_000}
    recipe = Recipe(("sh", "-c", "exit $CODE"), large, flags=RecipeFlag.INHERIT_ENV)
    shim.link.recipe(0, recipe, (null, null, null))
    process = psutil.Process(shim.process.pid)
    async with asyncio.timeout(25):
        await shim.link.spawn(0, "sh", {"CODE": "0"}).ended()
        before, resident = process.num_fds(), process.memory_info().rss
        for _ in range(25):
            shim.link.recipe(0, recipe, (null, null, null))
            children = [shim.link.spawn(0, "sh", {"CODE": str(code)}) for code in range(40)]
            codes = [os.waitstatus_to_exitcode((await each.ended()).status) for each in children]
            assert codes == list(range(40))
    os.close(null)
    assert (process.num_fds(), process.children()) == (before, [])
    assert process.memory_info().rss - resident < 1_500_000  # 25 recipes would be 2,500,000


# --- frames ---------------------------------------------------------------------------------------


async def test_frames_are_understood_however_they_are_cut(shim):
    null = os.open(os.devnull, os.O_RDWR)
    data = protocol.recipe(3, Recipe(("sh", "-c", "exit 9"), {"PATH": PATH}))
    send(shim, data[:1], (null, null, null))
    os.close(null)
    for at in range(1, len(data)):
        send(shim, data[at : at + 1])
    async with asyncio.timeout(10):
        ended = await shim.link.spawn(3, "sh", {}).ended()
    assert os.waitstatus_to_exitcode(ended.status) == 9


async def test_more_than_a_command_can_have_is_its_own_error(shim):
    large = {"PATH": PATH, **{f"V{number}": "x" * 1000 for number in range(9000)}}
    command = Command(("true",), large)
    async with asyncio.timeout(20):
        ran = await shim.runner.run(command, lambda *_: None)
    assert ran.ended == outcome.NotStarted("true", 7)
    assert (await told(shim, "true"))[0] == outcome.Exited(0)


async def test_a_variable_without_a_name_is_told_of_its_command_alone(shim):
    null = os.open(os.devnull, os.O_RDWR)
    shim.link.recipe(0, Recipe(("true",), {"PATH": PATH}), (null, null, null))
    os.close(null)
    async with asyncio.timeout(10):
        with pytest.raises(SpawnError) as caught:
            await shim.link.spawn(0, "true", {"": "x"}).ended()
        assert (caught.value.number, caught.value.step) == (22, Step.COMMAND)
        assert (await shim.link.spawn(0, "true", {}).ended()).status == 0


async def test_numbers_that_mean_nothing_hurt_nobody(shim, tmp_path):
    null = os.open(os.devnull, os.O_RDWR)
    shim.link.recipe(0, Recipe(("sleep", "60"), {"PATH": PATH}), (null, null, null))
    os.close(null)
    child = shim.link.spawn(0, "sleep", {})
    for number in (2**32 - 1, 2**31, 65, 0):
        shim.link.kill(child, number)
        with pytest.raises(OSError, match=r".*"):
            await shim.link.open(str(tmp_path / "no" / "file"), number)
    assert child.running
    shim.link.kill(child)
    async with asyncio.timeout(10):
        assert (await child.ended()).status == signal.SIGKILL


def recipe_of(argv: bytes, variables: bytes, *, count: int = 1, variable_count: int = 0) -> bytes:
    start = struct.pack("<II", RecipeFlag.INHERIT_ENV, 0o22) + b"\0\0"
    return start + struct.pack("<I", count) + argv + struct.pack("<I", variable_count) + variables


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<IBI", 0, 1, 1),
        struct.pack("<IBI", protocol.FRAME_MAX_BYTES + 1, 1, 1),
        protocol.frame(Kind.SPAWN, 1),
        protocol.frame(Kind.SPAWN, 1, struct.pack("<II", 0, 2**32 - 1)),
        protocol.frame(Kind.SPAWN, 1, struct.pack("<II", 2**31, 0)),
        protocol.frame(Kind.KILL, 1, b"\x09"),
        protocol.frame(Kind.CHMOD, 1, b"no end"),
        protocol.frame(Kind.OPEN, 1, b"\0\0\0\0"),
        protocol.frame(Kind.OPEN, 1, b"\0\0\0\0/no\0"),
        protocol.frame(Kind.RECIPE, protocol.RECIPES, recipe_of(b"true\0", b"")),
        protocol.frame(Kind.RECIPE, 0, recipe_of(b"true", b"")),
        protocol.frame(Kind.RECIPE, 0, recipe_of(b"", b"", count=0)),
        protocol.frame(Kind.RECIPE, 0, recipe_of(b"true\0", b"", count=2)),
        protocol.frame(Kind.RECIPE, 0, recipe_of(b"true\0", b"A\0", variable_count=1)),
        protocol.frame(Kind.RECIPE, 0, recipe_of(b"true\0", b"", variable_count=2**31)),
    ],
)
async def test_what_is_no_frame_ends_the_connection_and_what_ran(shim, data):
    null = os.open(os.devnull, os.O_RDWR)
    shim.link.recipe(5, Recipe(("sleep", "60"), {"PATH": PATH}), (null, null, null))
    shim.link.spawn(5, "sleep", {})
    send(shim, data, (null, null, null))
    os.close(null)
    await shim.left_us()
    if shim.stays:
        assert psutil.Process(shim.process.pid).children() == []


# --- files ----------------------------------------------------------------------------------------


async def test_rights_are_opened_up_however_deep_and_however_many(shim, tmp_path):
    deep = tmp_path / "out"
    for _ in range(300):
        deep /= "a"
    deep.mkdir(parents=True)
    many = tmp_path / "out" / "many"
    many.mkdir()
    for number in range(300):
        (many / f"{number}").touch(mode=0o400)
    os.mkfifo(many / "pipe", 0o000)
    async with asyncio.timeout(10):
        assert await shim.link.chmod(str(tmp_path / "out")) == (0, 302 + 300)
    assert {path.stat().st_mode & 0o7777 for path in many.glob("[0-9]*")} == {0o660}
    assert (many / "pipe").stat().st_mode & 0o7777 == 0


async def test_of_what_is_not_there_no_rights_are_opened_up(shim, tmp_path):
    async with asyncio.timeout(10):
        assert await shim.link.chmod(str(tmp_path / "no")) == (0, 0)


async def test_a_pipe_that_nobody_writes_to_holds_no_shim_up(shim, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    async with asyncio.timeout(10):
        os.close(await shim.link.open(str(tmp_path / "pipe")))
        with pytest.raises(FileNotFoundError):
            await shim.link.open(str(tmp_path / "no"))


async def test_a_file_is_not_opened_for_a_user_that_is_not_there(shim, tmp_path):
    (tmp_path / "file").touch()
    async with asyncio.timeout(10):
        with pytest.raises(FileNotFoundError):
            await shim.link.open(str(tmp_path / "file"), user="no-such-user")
        os.close(await shim.link.open(str(tmp_path / "file"), user=str(os.getuid())))


@as_root
async def test_a_file_is_opened_with_the_rights_of_the_user_who_is_named_and_of_nobody_else(shim):
    """Not root's, not those of root's group; and the shim is who it was afterwards."""
    process = psutil.Process(shim.process.pid)
    ids = process.uids(), process.gids(), (await told(shim, "id", "-G"))[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file, mode in {"all": 0o644, "owner": 0o600, "group": 0o640}.items():
            (folder / file).touch()
            (folder / file).chmod(mode)
        async with asyncio.timeout(10):
            os.close(await shim.link.open(f"{name}/all", user="nobody"))
            for file in ("owner", "group"):
                with pytest.raises(PermissionError):
                    await shim.link.open(f"{name}/{file}", user="nobody:1")
                os.close(await shim.link.open(f"{name}/{file}"))
            os.close(await shim.link.open(f"{name}/group", user="nobody:0"))
    assert ids == (process.uids(), process.gids(), (await told(shim, "id", "-G"))[1])
