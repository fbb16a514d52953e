"""The agent's end of the line to the shim: frames out, answers in, end of file noticed.

One object per connection. When it ends, whatever was asked fails with ShimLostError and `lost` is
set; the object is of no more use. Nothing here decides what that means: `service` does.
"""

import array
import asyncio
import contextlib
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trunkline.contracts import errors
from trunkline.worker_agent import protocol
from trunkline.worker_agent.protocol import Frame, Kind, Step

_RECEIVE_BYTES = 16 * 1024
"""Much more than most frames; a buffer over some ten KiB is mapped anew by each call."""


class ShimLostError(errors.TrunklineError):
    """The shim is gone, and with it what ran there."""

    def __init__(self) -> None:
        super().__init__("the process that starts the user's commands is gone")


class SpawnError(errors.TrunklineError):
    """A command could not be started; `number` is the errno, `step` what could not be done."""

    def __init__(self, command: str, number: int, step: int = Step.COMMAND) -> None:
        super().__init__(f"cannot start {command!r}: {os.strerror(number)}")
        self.command, self.number, self.step = command, number, step


class Child:
    """A command that was given to the shim; one task waits for its end."""

    def __init__(self, number: int, name: str) -> None:
        self.id = number
        self.name = name
        self._exited: protocol.Exited | None = None
        self._error: errors.TrunklineError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._call: Callable[[], None] | None = None

    def at_end(self, call: Callable[[], None]) -> None:
        """Have something called once no more is to be known of it."""
        self._call = call

    async def ended(self) -> protocol.Exited:
        """Return how it ended, once it and all its descendants are gone.

        Cancelling the caller does not touch the command.

        Raises:
            SpawnError: it could not be started.
            ShimLostError: nobody is there any more.
        """
        while self._exited is None:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._exited

    @property
    def running(self) -> bool:
        """Whether nothing is known of its end."""
        return self._exited is None and self._error is None

    @property
    def lives_on(self) -> bool:
        """Whether it may still run, or something of it that could not be killed."""
        return self.running if self._exited is None else self._exited.left > 0

    def told(self, exited: protocol.Exited) -> None:
        """Take its end."""
        self._exited = exited
        self._wake()

    def failed(self, error: errors.TrunklineError) -> None:
        """Take why its end will never be known, or why it never was."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._call is not None:
            self._call()


class Link:
    """A connection to a shim. Made and used on the loop's thread."""

    def __init__(
        self,
        connected: socket.socket,
        *,
        on_term: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over a connected socket.

        Args:
            connected: To the shim; closed when the connection ends.
            on_term: Called when the shim was told to stop.
        """
        connected.setblocking(False)
        self._socket = connected
        self._on_term = on_term
        self._loop = asyncio.get_running_loop()
        self._decoder = protocol.Decoder()
        self._descriptors: deque[int] = deque()
        self._numbers = 0
        self._answers: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._children: dict[int, Child] = {}
        self._greeted: asyncio.Future[protocol.Hello] = self._loop.create_future()
        self._out: deque[tuple[bytes, list[int]]] = deque()
        self._open = True
        self._crowded = False
        self._cleanups: list[Callable[[], None]] = []
        self.lost = asyncio.Event()
        """Set when the connection has ended."""
        self._loop.add_reader(connected.fileno(), self._readable)

    async def hello(self) -> protocol.Hello:
        """Return who the shim is, once it has said so."""
        return await asyncio.shield(self._greeted)

    def at_end(self, call: Callable[[], None]) -> None:
        """Have something called when the connection ends."""
        self._cleanups.append(call)

    def recipe(self, number: int, value: protocol.Recipe, descriptors: Sequence[int]) -> None:
        """Tell the shim how to start commands; the descriptors may be closed after this.

        Raises:
            ShimLostError: nobody is there.
            NulError: an argument or variable holds NUL.
            ProtocolError: it is too large for a frame.
        """
        data = protocol.recipe(number, value)
        if not self._open:
            raise ShimLostError
        self._send(data, [os.dup(each) for each in descriptors])

    def spawn(self, recipe: int, name: str, env: Mapping[str, str]) -> Child:
        """Have a command started by a recipe, with these variables of its own.

        Raises: as `recipe`.
        """
        number = self._number()
        data = protocol.spawn(number, recipe, env)
        if not self._open:
            raise ShimLostError
        child = self._children[number] = Child(number, name)
        self._send(data)
        return child

    def kill(self, child: Child, number: int = signal.SIGKILL) -> None:
        """Signal a command's process group, also of one that is only being started."""
        if self._open and child.running:
            self._send(protocol.kill(child.id, number))

    async def chmod(self, path: str) -> tuple[int, int]:
        """Let owner and group read and delete all below a path; return (errno, entries)."""
        number = self._number()
        return await self._ask(number, protocol.chmod(number, path))

    async def open(self, path: str, flags: int = os.O_RDONLY, *, user: str = "") -> int:
        """Return a descriptor of a file that the shim opened, links followed; OSError if it could not.

        Args:
            path: Where the shim, and so a command, finds it.
            flags: For `open`.
            user: With whose rights; see `protocol.Recipe`.
        """
        number = self._number()
        error, descriptor = await self._ask(number, protocol.open_(number, path, flags, user))
        if error:
            raise OSError(error, os.strerror(error), path)
        return descriptor

    async def mount(self, directory: str, path: str) -> None:
        """Let commands see a directory at a path, read-only; OSError if that cannot be.

        Only the shim of a local worker does that, and only in a mount namespace of its own.
        """
        number = self._number()
        error, _ = await self._ask(number, protocol.mount(number, directory, path))
        if error:
            raise OSError(error, os.strerror(error), path)

    def bye(self) -> None:
        """Tell the shim to kill what runs and end; end of file follows."""
        if self._open:
            self._send(protocol.frame(Kind.BYE))

    def close(self) -> None:
        """End the connection from this side."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for _, copies in self._out:
            _close(copies)
        self._out.clear()
        _close(self._descriptors)
        self._descriptors.clear()
        waiting: list[asyncio.Future[Any]] = [self._greeted, *self._answers.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(ShimLostError())
                future.exception()  # nobody may be waiting: no complaint about that
        for child in self._children.values():
            child.failed(ShimLostError())
        self._answers.clear()
        self._children.clear()
        for call in self._cleanups:
            call()
        self.lost.set()

    # --- frames -----------------------------------------------------------------------------------

    def _number(self) -> int:
        self._numbers = self._numbers % 0xFFFFFFFF + 1
        return self._numbers

    async def _ask(self, number: int, data: bytes) -> tuple[int, int]:
        if not self._open:
            raise ShimLostError
        answer: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        self._answers[number] = answer
        self._send(data)
        return await answer

    def _send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        if not self._out and not descriptors:
            data = data[self._sent(data) :]
            if not data:
                return
        self._out.append((data, list(descriptors)))
        if len(self._out) == 1:
            self._writable()

    def _sent(self, data: bytes) -> int:
        """Return how much could be sent at once; what stands against more is met again by the rest."""
        try:
            return self._socket.send(data)
        except OSError:
            return 0

    def _writable(self) -> None:
        while self._open and self._out:
            data, copies = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", copies))]
            try:
                sent = self._socket.sendmsg([data], rights if copies else [])
            except BlockingIOError:
                if not self._crowded:
                    self._crowded = True
                    self._loop.add_writer(self._socket.fileno(), self._writable)
                return
            except OSError:
                self.close()
                return
            _close(copies)  # they go with the first byte
            if sent == len(data):
                self._out.popleft()
            else:
                self._out[0] = (data[sent:], [])
        if self._open and self._crowded:
            self._crowded = False
            self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _RECEIVE_BYTES, protocol.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if ancillary:
            self._descriptors.extend(protocol.descriptors(ancillary))
        if not data:
            self.close()
            return
        try:
            for each in self._decoder.feed(data):
                self._take(each)
        except protocol.ProtocolError:
            self.close()

    def _take(self, each: Frame) -> None:
        match each.kind:
            case Kind.HELLO:
                if not self._greeted.done():
                    self._greeted.set_result(protocol.read_hello(each.payload))
            case Kind.TERM:
                self._on_term()
            case Kind.SPAWN:
                self._not_started(each)
            case Kind.KILL:
                child = self._children.pop(each.id, None)
                if child is not None:
                    child.told(protocol.read_exited(each.payload))
            case Kind.CHMOD | Kind.OPEN | Kind.MOUNT:
                self._answered(each)
            case _:
                pass  # of a newer shim

    def _answered(self, each: Frame) -> None:
        error, number = protocol.read_pair(each.payload)
        if each.kind == Kind.OPEN and not error:
            number = self._descriptors.popleft()
        answer = self._answers.pop(each.id, None)
        if answer is not None and not answer.done():
            answer.set_result((error, number))
        elif each.kind == Kind.OPEN and not error:
            _close([number])  # nobody waits for it any more

    def _not_started(self, each: Frame) -> None:
        error, step = protocol.read_pair(each.payload)
        child = self._children.pop(each.id, None)
        if child is not None:
            child.failed(SpawnError(child.name, error, step))


async def accept(path: str) -> socket.socket:
    """Return the next shim that connects to a path.

    The listener is closed and unlinked before this returns, and made anew after that shim is gone:
    while a shim is connected, user code finds no socket to speak as a second one.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - of an agent that was killed while it listened
        umask = os.umask(0)  # the shim may be another user
        try:
            listener.bind(path)
        finally:
            os.umask(umask)
        listener.listen(1)
        listener.setblocking(False)
        try:
            connected, _ = await asyncio.get_running_loop().sock_accept(listener)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108
    return connected


def _close(descriptors: Sequence[int] | deque[int]) -> None:
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.close(each)
