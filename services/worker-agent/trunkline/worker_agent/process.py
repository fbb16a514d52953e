"""Runs one command through the shim: its input, its output, its end, its time.

Output is read as it comes and handed on; a command is never held up by what is done with it.
Standard input is an anonymous file that holds the lines, so a command that does not read them, or
not to the end, keeps nobody waiting.

However this ends, also by being cancelled, the command and all its descendants are gone.
"""

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from trunkline.runtime.clock import Clock
from trunkline.worker_agent import protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.link import Child, Link, ShimLostError, SpawnError

_READ_BYTES = 64 * 1024
_READS_AT_ONCE = 16
_KILL_S = 15.0
"""Seconds after which a command that SIGKILL does not end means that the worker is broken."""
_EOF_S = 2.0
"""Seconds to wait for the end of output that something unkillable still holds open."""

Sink = Callable[[str, bytes], None]
"""Takes what was printed: `stdout` or `stderr`, and the bytes."""


class Command(NamedTuple):
    """What to run."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = ""
    stdin: bytes = b""
    umask: int = 0o022
    inherit_env: bool = False
    """Whether the shim's own environment (of the image) lies below `env`."""


class Run(NamedTuple):
    """How a command ended and what it took."""

    ended: outcome.Ended
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0


async def run(
    link: Link, command: Command, sink: Sink, *, clock: Clock, timeout_s: float | None = None
) -> Run:
    """Run a command to its end.

    Args:
        link: To the shim.
        command: What to run.
        sink: Takes its output, from this loop.
        clock: To measure by.
        timeout_s: After which its process group is killed; None for no limit.

    Raises:
        ShimLostError: nobody is there to run it, or it cannot be killed.
    """
    began_s = clock.monotonic_s()
    with _stdin(command.stdin) as stdin:
        out, err = _Reader("stdout", sink), _Reader("stderr", sink)
        try:
            with contextlib.ExitStack() as ours:
                ours.callback(out.close_write)
                ours.callback(err.close_write)
                child = _start(link, command, [stdin, out.write, err.write])
            timed_out = await _ended(link, child, timeout_s)
            exited = await _within_reason(link, child)
            if not (out.at_end() and err.at_end()):
                await _read_to_end(out, err)
        except SpawnError as error:
            ended = outcome.NotStarted(command.argv[0], error.number, command.cwd)
            return Run(ended, wall_s=clock.monotonic_s() - began_s)
        finally:
            out.close()
            err.close()
    return Run(
        ended=_told(exited, timeout_s if timed_out else None),
        wall_s=clock.monotonic_s() - began_s,
        cpu_s=(exited.user_us + exited.system_us) / 1e6,
        peak_rss_bytes=exited.peak_rss_kib * 1024,
    )


def _start(link: Link, command: Command, descriptors: list[int]) -> Child:
    flags = protocol.SpawnFlag.INHERIT_ENV if command.inherit_env else protocol.SpawnFlag(0)
    spawn = protocol.Spawn(command.argv, dict(command.env), command.cwd, command.umask, flags)
    try:
        return link.spawn(spawn, descriptors)
    except protocol.NulError as error:
        raise SpawnError(command.argv[0], errno.EINVAL) from error
    except protocol.ProtocolError as error:
        raise SpawnError(command.argv[0], errno.E2BIG) from error


async def _ended(link: Link, child: Child, timeout_s: float | None) -> bool:
    """Wait for the command's end, and kill it at the end of its time; return whether that was."""
    try:
        if timeout_s is None:
            await child.ended()
        else:
            async with asyncio.timeout(timeout_s):
                await child.ended()
    except TimeoutError:
        link.kill(child)
        return True
    except asyncio.CancelledError:
        link.kill(child)
        with contextlib.suppress(ShimLostError, SpawnError):
            await _within_reason(link, child)
        raise
    return False


async def _within_reason(link: Link, child: Child) -> protocol.Exited:
    """Return the end of a command that has ended or was killed."""
    if not child.running:
        return await child.ended()
    try:
        async with asyncio.timeout(_KILL_S):
            return await child.ended()
    except TimeoutError:
        link.close()
        raise ShimLostError from None


def _told(exited: protocol.Exited, limit_s: float | None) -> outcome.Ended:
    code = os.waitstatus_to_exitcode(exited.status)
    if code >= 0:
        return outcome.Exited(code)
    if limit_s is not None and code == -signal.SIGKILL:
        return outcome.TimedOut(limit_s)
    return outcome.Signalled(-code, oom=exited.oom_kills > 0)


async def _read_to_end(*readers: "_Reader") -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_EOF_S):
            for each in readers:
                await each.ended.wait()


class _Reader:
    """The reading end of one of a command's two output pipes."""

    def __init__(self, stream: str, sink: Sink) -> None:
        self._stream = stream
        self._sink = sink
        self._read, self.write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read, self._readable)
        self.ended = asyncio.Event()

    def close_write(self) -> None:
        """Leave the writing end to the command."""
        os.close(self.write)

    def close(self) -> None:
        """Read no more."""
        if not self.ended.is_set():
            self.ended.set()
            self._loop.remove_reader(self._read)
        if self._read >= 0:
            os.close(self._read)
            self._read = -1

    def at_end(self) -> bool:
        """Read what is there; return whether nothing more can come.

        Most commands have printed nothing, or little: then their end needs no turn of the loop.
        """
        if not self.ended.is_set():
            self._readable()
        return self.ended.is_set()

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):
            try:
                data = os.read(self._read, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(self._read)
                self.ended.set()
                return
            self._sink(self._stream, data)


@contextlib.contextmanager
def _stdin(content: bytes) -> Iterator[int]:
    if content:
        number = os.memfd_create("stdin", os.MFD_CLOEXEC)
    else:
        number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if content:
            left = memoryview(content)
            while left:
                left = left[os.write(number, left) :]
            os.lseek(number, 0, os.SEEK_SET)
        yield number
    finally:
        os.close(number)
