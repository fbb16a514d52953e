"""Runs commands through the shim, one at a time: input, output, end, time.

All runs share two pipes, one for each stream, of which the agent keeps both ends. So nothing is made,
registered and closed for each run, and no end of file wakes the loop: when the shim says that the
command and all its descendants are gone, what they have printed is in the pipes, and is read. A
command may have changed the flags of those open files (O_NONBLOCK, above all), so they are reset
before the next run. Where something could not be killed, it keeps the old pipes, and new ones are made.

Output is read as it comes and handed on; a command is never held up by what is done with it.
Standard input is an anonymous file that holds the lines and can be changed by nobody, rewound for each
run, so a command that does not read them, or not to the end, keeps nobody waiting.

However a run ends, also by being cancelled, the command and all its descendants are gone.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Mapping
from typing import NamedTuple

from trunkline.runtime.clock import Clock
from trunkline.storage import disk
from trunkline.worker_agent import protocol
from trunkline.worker_agent.core import outcome
from trunkline.worker_agent.link import Child, Link, ShimLostError, SpawnError
from trunkline.worker_agent.protocol import Step

_READ_BYTES = 64 * 1024
_READS_AT_ONCE = 16
_KILL_S = 15.0
"""Seconds after which a command that SIGKILL does not end means that the worker is broken."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

ALL_NUMBERS = range(protocol.RECIPES)

Sink = Callable[[str, bytes], None]
"""Takes what was printed: `stdout` or `stderr`, and the bytes."""


class Command(NamedTuple):
    """What to run, again and again."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str = ""
    stdin: bytes = b""
    umask: int = 0o022
    inherit_env: bool = False
    """Whether the shim's own environment (of the image) lies below `env`."""
    user: str = ""
    """See `protocol.Recipe`."""


class Run(NamedTuple):
    """How a command ended and what it took."""

    ended: outcome.Ended
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    left: int = 0
    """How many processes could not be killed."""


class Runner:
    """Runs commands through one shim, one at a time."""

    def __init__(
        self, link: Link, *, clock: Clock, numbers: range = ALL_NUMBERS, opened: str = ""
    ) -> None:
        """Run through this link, measure by this clock, and use recipes of these numbers.

        What lies at `opened`, a path as commands see it, is opened up to us after each end of one.
        """
        self._link, self._opened = link, opened
        self._numbers = numbers
        self._clock = clock
        self._pipes = (_Pipe("stdout"), _Pipe("stderr"))
        self._recipes: dict[int, _Recipe] = {}
        self._told = 0
        """How many recipes the shim was told."""
        link.at_end(self._forget)

    async def run(
        self,
        command: Command,
        sink: Sink,
        *,
        own: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Run:
        """Run a command to its end.

        Args:
            command: What to run; the same object for runs that differ in `own` only.
            sink: Takes its output, from this loop.
            own: Variables of this run, above the command's.
            timeout_s: After which its process group is killed; None for no limit.

        Raises:
            ShimLostError: nobody is there to run it, or it cannot be killed.
        """
        began_s = self._clock.monotonic_s()
        child: Child | None = None
        try:
            child = self.start(command, own or {}, sink)
            timed_out = await _ended(self._link, child, timeout_s)
            exited = await _within_reason(self._link, child)
        except SpawnError as error:
            ended = not_started(command, error)
            return Run(ended, wall_s=self._clock.monotonic_s() - began_s)
        finally:
            self.close(child)
            await self.open_up()
        return Run(
            ended=_timed_out(exited, timeout_s) if timed_out else told(exited),
            wall_s=self._clock.monotonic_s() - began_s,
            cpu_s=(exited.user_us + exited.system_us) / 1e6,
            peak_rss_bytes=exited.peak_rss_kib * 1024,
            left=exited.left,
        )

    # --- the same in steps ------------------------------------------------------------------------

    def start(self, command: Command, own: Mapping[str, str], sink: Sink) -> Child:
        """Start a command; `close` follows in any case.

        Raises:
            ShimLostError: nobody is there to run it.
            SpawnError: it cannot be started, and will never be.
        """
        try:
            number = self._number(command)
            for pipe in self._pipes:
                pipe.begin(sink)
            return self._link.spawn(number, command.argv[0], own)
        except protocol.NulError as error:
            raise SpawnError(command.argv[0], errno.EINVAL) from error
        except protocol.ProtocolError as error:
            raise SpawnError(command.argv[0], errno.E2BIG) from error

    def _number(self, command: Command) -> int:
        """Return the number of a command's recipe; the shim knows it from now on."""
        for number, known in self._recipes.items():
            if known.command is command:
                known.rewind()
                return number
        number = self._numbers[self._told % len(self._numbers)]
        recipe = _Recipe(command)
        try:
            descriptors = [recipe.stdin, *(pipe.write for pipe in self._pipes)]
            self._link.recipe(number, recipe.told, descriptors)
        except BaseException:
            recipe.close()
            raise
        if number in self._recipes:
            self._recipes[number].close()
        self._recipes[number] = recipe
        self._told += 1
        return number

    def hear(self, sink: Sink) -> None:
        """Of a command that goes on: hand on to this sink what it prints from now on."""
        for pipe in self._pipes:
            pipe.turn(sink)

    def unhear(self) -> None:
        """Of a command that goes on: hand on what it has printed until now, and drop the rest."""
        for pipe in self._pipes:
            pipe.look()
            pipe.turn(None)

    async def kill(self, child: Child) -> protocol.Exited:
        """End a command, if it has not ended by itself, and return how it ended.

        Raises: as `Child.ended`; ShimLostError also if it cannot be killed.
        """
        self._link.kill(child)
        exited = await _within_reason(self._link, child)
        await self.open_up()
        return exited

    async def open_up(self) -> None:
        """Let us read, move and delete what a command of another user has written."""
        if self._opened:
            with contextlib.suppress(ShimLostError):
                await self._link.chmod(self._opened)

    def close(self, child: Child | None) -> None:
        """Read what has been printed; leave the pipes to what could not be killed."""
        for pipe in self._pipes:
            pipe.end()
        if child is not None and child.lives_on:
            self._forget()
            self._pipes = (_Pipe("stdout"), _Pipe("stderr"))

    def _forget(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for recipe in self._recipes.values():
            recipe.close()
        self._recipes.clear()


class _Recipe:
    """A command that the shim knows, and the lines for its standard input."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._lines = bool(command.stdin)
        self.stdin = _stdin(command.stdin)

    @property
    def told(self) -> protocol.Recipe:
        """What the shim is told."""
        command = self.command
        flags = protocol.RecipeFlag(0)
        if command.inherit_env:
            flags |= protocol.RecipeFlag.INHERIT_ENV
        return protocol.Recipe(
            command.argv, dict(command.env), command.cwd, command.umask, flags, command.user
        )

    def rewind(self) -> None:
        if self._lines:
            os.lseek(self.stdin, 0, os.SEEK_SET)

    def close(self) -> None:
        os.close(self.stdin)


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


def not_started(command: Command, error: SpawnError) -> outcome.NotStarted:
    """Return why a command never was."""
    return outcome.NotStarted(
        command.argv[0],
        error.number,
        directory=command.cwd if error.step == Step.DIRECTORY else "",
        user=command.user if error.step == Step.USER else "",
    )


def told(exited: protocol.Exited) -> outcome.Exited | outcome.Signalled:
    """Return how a command ended."""
    code = os.waitstatus_to_exitcode(exited.status)
    oom = exited.oom_kills > 0
    return outcome.Exited(code, oom=oom) if code >= 0 else outcome.Signalled(-code, oom=oom)


def _timed_out(exited: protocol.Exited, limit_s: float | None) -> outcome.Ended:
    """Return how a command ended that we have killed; it may have been quicker."""
    ended = told(exited)
    if limit_s is not None and ended == outcome.Signalled(signal.SIGKILL):
        return outcome.TimedOut(limit_s)
    return ended


class _Pipe:
    """One of the two pipes that commands print to."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._sink: Sink | None = None
        self._read, self.write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read, self._readable)

    def begin(self, sink: Sink) -> None:
        """Hand on what comes from now on."""
        self._sink = sink
        fcntl.fcntl(self.write, fcntl.F_SETFL, 0)

    def turn(self, sink: Sink | None) -> None:
        """Hand on what is read from now on to this sink."""
        self._sink = sink

    def look(self) -> None:
        """Read what fits into it, which is all that was printed until now.

        Not to its end: who lives may print for ever.
        """
        if self._read >= 0:
            self._readable()

    def end(self) -> None:
        """Read what is there, to its end; hand on no more.

        Whoever wrote it is dead, or is left and gets other pipes; how large the pipe is, is the
        command's doing, too.
        """
        if self._read >= 0:
            while self._readable():
                continue
        self._sink = None

    def close(self) -> None:
        """Read no more."""
        if self._read >= 0:
            self.end()
            self._loop.remove_reader(self._read)
            os.close(self._read)
            os.close(self.write)
            self._read = self.write = -1

    def _readable(self) -> bool:
        """Hand on some of what is there; return whether there may be more."""
        for _ in range(_READS_AT_ONCE):
            try:
                data = os.read(self._read, _READ_BYTES)
            except BlockingIOError:
                return False
            if self._sink is not None:
                self._sink(self._stream, data)
        return True


def _stdin(content: bytes) -> int:
    """Return a descriptor to read this from, and no more."""
    if not content:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    number = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        disk.write_all(number, content)
        os.lseek(number, 0, os.SEEK_SET)
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(number)
        raise
    return number
