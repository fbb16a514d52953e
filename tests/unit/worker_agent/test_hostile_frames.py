"""The static shim, built with the address and undefined-behaviour sanitizers, is sent what no agent sends.

Whatever comes, it ends the connection or goes on, and serves the next agent; it never crashes. The agent
is trusted, but who holds pid 1 of a container by the throat holds the container.
"""

import contextlib
import os
import re
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import shims

from trunkline.worker_agent import protocol
from trunkline.worker_agent.protocol import Kind, Recipe

SHIM = shims.CACHE / "sanitized"
NOBODY = 65534
pytestmark = pytest.mark.skipif(not SHIM.exists(), reason="not built: `make shim-tests`, with a cc")

# No path of these leads anywhere: neither `/` nor `.` is among them.
TEXT = st.binary(max_size=12).map(lambda data: bytes(0x20 | each & 0x41 for each in data))
NUMBER = st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1))
NUMBERS = NUMBER.map(lambda number: struct.pack("<I", number))
STRINGS = st.lists(TEXT, max_size=4).map(lambda texts: b"".join(text + b"\0" for text in texts))
PIECES = st.lists(st.one_of(NUMBERS, STRINGS, TEXT), max_size=6).map(b"".join)
VALID = st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["", "1", "x=y"]))
RECIPES = st.builds(
    lambda number, env: protocol.recipe(number, Recipe(("no-such",), env)),
    st.integers(0, protocol.RECIPES - 1),
    VALID,
)
SPAWNS = st.builds(protocol.spawn, st.integers(0, 2**32 - 1), st.integers(0, 3), VALID)
FRAMES = st.builds(
    lambda kind, number, payload: struct.pack("<IBI", 5 + len(payload), kind, number) + payload,
    st.sampled_from([each for each in Kind if each is not Kind.BYE] + [0, 8, 255]),
    NUMBER,
    PIECES,
)
CUT = st.builds(lambda data, at: data[:at], FRAMES, st.integers(0, 12))
STREAMS = st.lists(st.one_of(RECIPES, SPAWNS, FRAMES, CUT), max_size=12)


class Sanitized:
    """A shim, and the listener that it comes to again and again."""

    def __init__(self, folder: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(f"{folder}/agent.sock")
        self.listener.listen(1)
        self.listener.settimeout(10)
        Path(folder, "agent.sock").chmod(0o777)
        Path(folder).chmod(0o755)
        self.said = Path(folder, "said")
        self.reports = Path(folder, "reports")
        self.reports.mkdir()
        self.reports.chmod(0o777)
        # To files: a child on its way to a command has that command's stderr already.
        options = (
            f"detect_leaks=0:exitcode=99:allocator_may_return_null=1:log_path={self.reports}/of"
        )
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [str(SHIM), f"{folder}/agent.sock", "10"],
                cwd=folder,
                env={"ASAN_OPTIONS": options},
                stderr=said,
                user=NOBODY if os.getuid() == 0 else None,
                group=NOBODY if os.getuid() == 0 else None,
            )

    def meet(self) -> socket.socket:
        connected, _ = self.listener.accept()
        connected.settimeout(10)
        assert connected.recv(9 + 16)[4] == Kind.HELLO
        return connected


@pytest.fixture(scope="module")
def sanitized() -> Iterator[Sanitized]:
    with tempfile.TemporaryDirectory() as folder:
        started = Sanitized(folder)
        try:
            yield started
        finally:
            started.process.kill()
            started.process.wait(10)
            started.listener.close()
            reports = sorted(started.reports.iterdir())
            said = "".join(each.read_text() for each in [started.said, *reports])
        assert not re.search("ERROR|runtime error", said), said


def survives(shim: Sanitized, stream: list[bytes], descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    with contextlib.closing(shim.meet()) as connected:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(connected, [b"".join(stream) or b"\0"], [null] * descriptors)
            connected.shutdown(socket.SHUT_WR)
        os.close(null)
        with contextlib.suppress(ConnectionResetError):
            while connected.recv(65536):
                continue
    assert shim.process.poll() is None


@settings(max_examples=50, database=None)
@given(stream=STREAMS, descriptors=st.integers(0, 9))
def test_frames_that_nobody_sends_harm_nobody(sanitized, stream, descriptors):
    survives(sanitized, stream, descriptors)


@settings(max_examples=50, database=None)
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_frames_harm_nobody(sanitized, data):
    survives(sanitized, [data], 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@settings(max_examples=3_000, database=None)
@given(stream=STREAMS, descriptors=st.integers(0, 9))
def test_many_frames_that_nobody_sends_harm_nobody(sanitized, stream, descriptors):
    survives(sanitized, stream, descriptors)


def test_more_descriptors_than_are_ever_on_their_way_end_the_connection(sanitized):
    null = os.open(os.devnull, os.O_RDWR)
    with contextlib.closing(sanitized.meet()) as connected:
        for _ in range(2):
            socket.send_fds(connected, [b"\x64\0\0\0"], [null] * 50)
        with contextlib.suppress(ConnectionResetError):
            assert connected.recv(1) == b""
    os.close(null)
    with contextlib.closing(sanitized.meet()) as connected:
        if os.getuid() == 0:  # it lets nobody else look
            assert psutil.Process(sanitized.process.pid).num_fds() < 10


def test_a_command_and_the_next_one_by_the_same_recipe(sanitized):
    null = os.open(os.devnull, os.O_RDWR)
    recipe = protocol.recipe(0, Recipe(("/bin/sh", "-c", "exit $A"), {"A": "1", "B": "2"}))
    with contextlib.closing(sanitized.meet()) as connected:
        socket.send_fds(connected, [recipe], [null] * 3)
        decoder = protocol.Decoder()
        for code in (3, 4):
            connected.sendall(protocol.spawn(code, 0, {"A": str(code)}))
            found: list[protocol.Frame] = []
            while not found:
                found = decoder.feed(connected.recv(4096))
            assert (found[0].kind, found[0].id) == (Kind.KILL, code)
            assert protocol.read_exited(found[0].payload).status == code << 8
    os.close(null)
