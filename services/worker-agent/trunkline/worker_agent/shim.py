"""The shim: starts, signals and reaps the user's commands for an agent that is another process.

Synchronous and of the standard library alone, with one thread: it is forked per worker before there
is a loop, starts in a millisecond, and does what a static shim in C does in a user's container.
`protocol` has the frames; here stands what the shim guarantees:

- Each command leads a session (and so a process group) of its own, with default signals. When the
  leader has ended, its group is killed *before* the leader is reaped, so that the number of the
  group cannot have become somebody else's.
- The shim is a child subreaper: what left the group (setsid, daemons) becomes its child once its
  own parent ends. With no command left, every remaining child is killed until there is none; only
  then the agent hears EXITED.
- The agent is gone (end of file, also after kill -9): all commands are killed in the same way. Then
  the shim exits, or waits for the next agent, as it was told.
- The shim itself is killed: its commands live on as orphans; the agent, if it is there, sees end of
  file and kills the group of the command it knows of. In a pod the kernel does it.
- SIGTERM is told to the agent and otherwise ignored; BYE ends the shim. In a container only a
  SIGTERM from outside counts (sender 0): user code may have the shim's user id.
"""

import array
import contextlib
import errno
import os
import resource  # noqa: F401 - os.wait4 imports it when it is first called
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trunkline.worker_agent import linux, protocol
from trunkline.worker_agent.protocol import Frame, HelloFlag, Kind

_RECEIVE_BYTES = 256 * 1024
_DESCRIPTORS_MAX = 64
_SWEEP_S = 5.0
"""A process in the middle of a device's I/O ignores SIGKILL; nobody waits for it longer."""
_RETRY_S = 0.02
_TERMINATING_WAIT_S = 10.0

EXIT_DONE = 0
EXIT_AGENT_LOST = 75


class Shim:
    """One connection to an agent and the commands that it started."""

    def __init__(
        self, link: socket.socket, signals: int, *, flags: HelloFlag, inside: bool
    ) -> None:
        """Take over a connected socket and a signal descriptor.

        Args:
            link: To the agent.
            signals: From `linux.signal_fd`, with SIGCHLD and SIGTERM.
            flags: For HELLO.
            inside: Whether this is a container's first process, where only the kubelet's SIGTERM
                (sender 0) counts.
        """
        link.set_inheritable(False)  # or a command could speak as the shim, and hide its end
        self._link = link
        self._signals = signals
        self._flags = flags
        self._inside = inside
        self._decoder = protocol.Decoder()
        self._descriptors: list[int] = []
        self._commands: dict[int, _Command] = {}
        self._bye = False

    @property
    def terminating(self) -> bool:
        """Whether SIGTERM came."""
        return HelloFlag.TERMINATING in self._flags

    def serve(self) -> bool:
        """Serve one agent; return whether it said BYE (or is just gone)."""
        self._send(protocol.hello(protocol.Hello(os.getuid(), os.getgid(), self._flags)))
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        alive = True
        while alive and not self._bye:
            ready = {number for number, _ in poll.poll()}
            if self._signals in ready:
                self._take_signals()
            if self._link.fileno() in ready:
                alive = self._take_frames()
        self._end_all()
        return self._bye

    # --- what comes in ----------------------------------------------------------------------------

    def _take_signals(self) -> None:
        for info in linux.read_signals(self._signals):
            if info.number == signal.SIGTERM and not (self._inside and info.sender != 0):
                self._flags |= HelloFlag.TERMINATING
                self._send(protocol.frame(Kind.TERM))
        self._reap()

    def _take_frames(self) -> bool:
        room = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._link.recvmsg(
                _RECEIVE_BYTES, room, socket.MSG_CMSG_CLOEXEC
            )
        except InterruptedError:
            return True
        except OSError:
            return False
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._descriptors += numbers
        if not data:
            return False
        try:
            for each in self._decoder.feed(data):
                self._take(each)
        except protocol.ProtocolError:
            return False
        return True

    def _take(self, each: Frame) -> None:
        match each.kind:
            case Kind.SPAWN:
                self._spawn(each)
            case Kind.KILL:
                number = protocol.read_kill(each.payload)
                for leader in [pid for pid, one in self._commands.items() if one.id == each.id]:
                    _signal_group(leader, number)
            case Kind.BYE:
                self._bye = True
            case Kind.CHMOD:
                error, entries = open_up(protocol.read_chmod(each.payload))
                self._send(protocol.pair(Kind.CHMOD, each.id, error, entries))
            case Kind.OPEN:
                self._open(each)
            case _:
                pass  # of a newer agent

    def _spawn(self, each: Frame) -> None:
        command = protocol.read_spawn(each.payload)
        if len(self._descriptors) < 3:
            raise protocol.ProtocolError("a command without its descriptors")
        descriptors, self._descriptors = self._descriptors[:3], self._descriptors[3:]
        try:
            pid = start(command, descriptors)
        except OSError as error:
            self._send(protocol.pair(Kind.SPAWN, each.id, -1, error.errno or 1))
        except ValueError:  # a variable without a name, say
            self._send(protocol.pair(Kind.SPAWN, each.id, -1, errno.EINVAL))
        else:
            self._commands[pid] = _Command(each.id)
            self._send(protocol.pair(Kind.SPAWN, each.id, pid))
        finally:
            for number in descriptors:
                os.close(number)

    def _open(self, each: Frame) -> None:
        flags, path = protocol.read_open(each.payload)
        try:
            number = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            self._send(protocol.pair(Kind.OPEN, each.id, error.errno or 1))
            return
        try:
            self._send(protocol.pair(Kind.OPEN, each.id, 0), number)
        finally:
            os.close(number)

    # --- the end of commands ----------------------------------------------------------------------

    def _reap(self) -> None:
        ended: list[tuple[int, protocol.Exited]] = []
        while (pid := _ended_child()) is not None:
            if pid in self._commands:
                _signal_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            command = self._commands.pop(pid, None)
            if command is None:
                continue
            exited = protocol.Exited(
                status=status,
                wall_us=int((time.monotonic() - command.began_s) * 1e6),
                user_us=int(usage.ru_utime * 1e6),
                system_us=int(usage.ru_stime * 1e6),
                peak_rss_kib=usage.ru_maxrss,
                major_faults=usage.ru_majflt,
                blocks_in=usage.ru_inblock,
                blocks_out=usage.ru_oublock,
            )
            ended.append((command.id, exited))
        if not ended:
            return
        if not self._commands:
            sweep()
        for number, exited in ended:
            self._send(protocol.exited(number, exited))

    def _end_all(self) -> None:
        for leader in self._commands:
            _signal_group(leader, signal.SIGKILL)
        self._commands.clear()
        sweep()
        for number in self._descriptors:
            os.close(number)
        self._descriptors.clear()

    def _send(self, data: bytes, descriptor: int | None = None) -> None:
        rights = []
        if descriptor is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        with contextlib.suppress(OSError):  # the agent is gone: end of file follows
            sent = self._link.sendmsg([data], rights)
            self._link.sendall(data[sent:])


class _Command:
    """A command that runs."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.began_s = time.monotonic()


def start(command: protocol.Spawn, descriptors: list[int]) -> int:
    """Start a command in a session of its own and return its pid; OSError says why it cannot be.

    What the process has in common with its child (directory, umask) is set and set back: there is
    one thread.
    """
    env = command.env
    if protocol.SpawnFlag.INHERIT_ENV in command.flags:
        env = {**os.environ, **env}
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    umask = os.umask(command.umask)
    try:
        if command.cwd:
            os.chdir(command.cwd)
        return os.posix_spawn(
            find(command.argv[0], env.get("PATH", os.defpath)),
            command.argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, number, place) for place, number in enumerate(descriptors)
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        os.umask(umask)
        os.fchdir(here)
        os.close(here)


def find(name: str, path: str) -> str:
    """Return the file that a command's name stands for, by the command's own PATH.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: there is one, and it cannot be executed.
    """
    if "/" in name:
        return name
    denied = False
    for folder in path.split(os.pathsep):
        file = os.path.join(folder or ".", name)  # noqa: PTH118 - no Path: it costs more than the rest
        if os.path.isfile(file):  # noqa: PTH113
            if os.access(file, os.X_OK):
                return file
            denied = True
    if denied:
        raise PermissionError(13, os.strerror(13), name)
    raise FileNotFoundError(2, os.strerror(2), name)


def sweep() -> None:
    """Kill and reap all children, and what becomes a child by that, for some seconds at most."""
    deadline = time.monotonic() + _SWEEP_S
    pause = 0.0002
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        for child in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def open_up(path: str) -> tuple[int, int]:
    """Give owner and group access to everything below `path`; return (last errno, entries seen).

    A command's umask must not keep the agent, which may be another user of the same group, from
    reading and deleting what the command wrote. Symbolic links are left alone.
    """
    error = entries = 0
    for entry, mode in _walk(path):
        entries += 1
        owner = mode & 0o700 | (0o700 if os.path.isdir(entry) else 0o600)  # noqa: PTH112
        wanted = mode | owner | owner >> 3
        if wanted != mode:
            try:
                os.chmod(entry, wanted)  # noqa: PTH101
            except OSError as problem:
                error = problem.errno or 1
    return error, entries


def _walk(path: str) -> Iterator[tuple[str, int]]:
    """Give each file and directory with its permissions, a directory before it is opened."""
    waiting = [path]  # and no recursion: a command may make a thousand levels
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
        except OSError:
            continue
        kind = status.st_mode & 0o170000
        if kind not in (0o040000, 0o100000):
            continue
        yield path, status.st_mode & 0o7777
        if kind == 0o040000:
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                waiting += (entry.path for entry in entries)


def _ended_child() -> int | None:
    """Return a child that has ended, and is left a zombie, or None."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError, OSError):
        os.killpg(leader, number)


def _children() -> list[int]:
    """Return this process's children; from the kernel's list, or by looking at all processes."""
    me = os.getpid()
    try:
        text = Path(f"/proc/{me}/task/{me}/children").read_text()
    except OSError:
        return [pid for pid, parent in _parents() if parent == me]
    return [int(each) for each in text.split()]


def _parents() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = Path(f"/proc/{name}/stat").read_text()
                yield int(name), int(stat.rpartition(")")[2].split()[1])


def prepare() -> int:
    """Make this process a shim: a session, a subreaper, not looked into; return its signals."""
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals = linux.signal_fd([signal.SIGCHLD, signal.SIGTERM])
    linux.become_subreaper()
    linux.set_dumpable(False)
    return signals


def serve_one(link: socket.socket, *, flags: HelloFlag = protocol.NO_FLAGS) -> int:
    """Serve the agent at the other end of a socket until it is gone; return the exit code.

    The shim of a local worker: its agent is its parent, and there will be no other.
    """
    shim = Shim(link, prepare(), flags=flags, inside=False)
    return EXIT_DONE if shim.serve() else EXIT_AGENT_LOST


def serve_all(
    path: str,
    *,
    wait_s: float,
    inside: bool,
    flags: HelloFlag = protocol.NO_FLAGS,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Serve whichever agent listens on a path, one after the other; return the exit code.

    The shim of a container: an exit would cost a restart with back-off, so it waits.

    Args:
        path: The agent's unix socket.
        wait_s: Seconds without an agent after which it gives up.
        inside: See Shim.
        flags: For HELLO.
        say: Told what happens, a line each.
    """
    signals = prepare()
    since_s = time.monotonic()
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(path)
        except OSError as error:
            link.close()
            flags |= _terminated(signals, inside=inside)
            patience_s = _TERMINATING_WAIT_S if HelloFlag.TERMINATING in flags else wait_s
            if time.monotonic() - since_s > patience_s:
                say(f"no agent on {path}: {error}")
                return EXIT_AGENT_LOST
            time.sleep(_RETRY_S)
            continue
        with link:
            shim = Shim(link, signals, flags=flags, inside=inside)
            if shim.serve():
                return EXIT_DONE
        say("the agent is gone; all commands are killed")
        if shim.terminating:
            flags |= HelloFlag.TERMINATING
        since_s = time.monotonic()


def _terminated(signals: int, *, inside: bool) -> HelloFlag:
    for info in linux.read_signals(signals):
        if info.number == signal.SIGTERM and not (inside and info.sender != 0):
            return HelloFlag.TERMINATING
    return protocol.NO_FLAGS


def main() -> int:
    """Be the shim of a container: `shim <path of the agent's socket> <seconds to wait for it>`."""
    path, wait_s = sys.argv[1:]

    def say(text: str) -> None:
        sys.stderr.write(f"shim: {text}\n")
        sys.stderr.flush()

    return serve_all(path, wait_s=float(wait_s), inside=os.getpid() == 1, say=say)


if __name__ == "__main__":
    sys.exit(main())
