"""The socket at which a warm command asks for its next datum; `core.asking` decides what is answered.

Made anew for each process that is started, so nobody of an earlier one can speak for it. The path lies
in the directory that the command sees as /pfs, so it is short there, and reachable in whatever mount
namespace or container the command lives. What a command sends costs it its connection at most. No write
ever waits: what a socket does not take at once (an environment of hundreds of kilobytes) is kept and sent
as it is read, one answer at a time. Who goes before that, or asks for more, has not seen the whole datum:
that try has failed.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never

from trunkline.storage import disk
from trunkline.worker_agent.core import asking
from trunkline.worker_agent.core.asking import Asking, State

_RECEIVE_BYTES = 4 * 1024
_PEER = struct.Struct("=3i")
_NAME = "next"


class Door:
    """One process's line to us; `heard` is called when something has changed."""

    def __init__(self, directory: Path, heard: Callable[[], None]) -> None:
        """Listen on a path in a directory, which is made.

        Raises:
            UnavailableError: not now: the disk is away or full.
        """
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._asking = Asking()
        self._connections: dict[int, socket.socket] = {}
        self._unsent: dict[int, memoryview] = {}
        """By connection, what is left of an answer."""
        self.error: str | None = None
        """What was told of the datum that was finished last."""
        self.leader = 0
        """The first process of the command's session, as we see it; 0: not known."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with disk.writing(str(directory)):
            directory.mkdir(exist_ok=True)
            _listen(self._listener, directory)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    @staticmethod
    def path(directory: str) -> str:
        """Return the path in a directory, as the command sees it."""
        return f"{directory}/{_NAME}"

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a datum."""
        return self._asking.state is State.WAITING

    @property
    def busy(self) -> bool:
        """Whether a datum was given and is not finished."""
        return self._asking.state is State.BUSY

    @property
    def asked(self) -> bool:
        """Whether anybody has ever asked."""
        return self._asking.asked

    def give(self, line: bytes) -> bool:
        """Hand a datum to who waits; return whether that could be sent."""
        answer = self._asking.give(line)
        if self._send(answer.connection, answer.line):
            return True
        self._asking.untaken()
        return False

    def end(self) -> None:
        """Let there be no more datums."""
        self._do(self._asking.end())

    def look(self) -> None:
        """Take in what was sent and not read yet."""
        self._accept()
        for number in list(self._connections):
            self._readable(number)

    def close(self) -> None:
        """Hear nobody any more."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for connection in list(self._connections):
            self._cut(connection)

    # --- connections ------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError:
            return
        connected.setblocking(False)
        number = connected.fileno()
        self._connections[number] = connected
        self.leader = self.leader or _leader(connected)
        self._loop.add_reader(number, self._readable, number)
        self._do(self._asking.connected(number))

    def _readable(self, number: int) -> None:
        connected = self._connections.get(number)
        if connected is None:
            return
        try:
            data = connected.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or number in self._unsent:
            self._cut(number)
            return
        self._do(self._asking.received(number, data))

    def _do(self, effects: Sequence[asking.Effect]) -> None:
        for effect in effects:
            match effect:
                case asking.Ready():
                    self._heard()
                case asking.Finished(error):
                    self.error = error
                    self._heard()
                case asking.Answer(connection, line):
                    self._send(connection, line)
                case asking.Refuse(connection, line):
                    self._send(connection, line)
                    self._cut(connection)
                case _:
                    assert_never(effect)

    def _send(self, number: int, line: bytes) -> bool:
        """Send a line, what is left of it later; False if nobody is there to read it."""
        connected = self._connections.get(number)
        if connected is None:
            return False
        if not self._sent(number, connected, memoryview(line)):
            self._cut(number)
            return False
        return True

    def _sent(self, number: int, connected: socket.socket, line: memoryview) -> bool:
        """Send what can be sent now, and see to the rest; False if the connection is lost."""
        try:
            sent = connected.send(line, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        if sent < len(line):
            self._unsent[number] = line[sent:]
            self._loop.add_writer(number, self._writable, number)
        elif self._unsent.pop(number, None) is not None:
            self._loop.remove_writer(number)
        return True

    def _writable(self, number: int) -> None:
        connected, line = self._connections.get(number), self._unsent.get(number)
        if connected is not None and line is not None and not self._sent(number, connected, line):
            self._cut(number)

    def _cut(self, number: int) -> None:
        connected = self._connections.pop(number, None)
        if connected is not None:
            self._loop.remove_reader(number)
            unsent = self._unsent.pop(number, None)
            if unsent is not None:
                self._loop.remove_writer(number)
            connected.close()
            if unsent is None:
                self._asking.closed(number)
            else:
                self._do(self._asking.lost(number))


def _listen(listener: socket.socket, directory: Path) -> None:
    """Listen in a directory by way of its descriptor: its own path may be longer than a socket's."""
    with contextlib.suppress(FileNotFoundError):
        (directory / _NAME).unlink()
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    umask = os.umask(0)  # the command may be another user
    try:
        listener.bind(f"/proc/self/fd/{here}/{_NAME}")
    finally:
        os.umask(umask)
        os.close(here)
    listener.listen(asking.CONNECTIONS_MAX)
    listener.setblocking(False)


def _leader(connected: socket.socket) -> int:
    """Return the leader of the session at the other end; 0 where that is out of our sight."""
    pid, _, _ = _PEER.unpack(
        connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    )
    try:
        return os.getsid(pid) if pid > 0 else 0
    except OSError:
        return 0
