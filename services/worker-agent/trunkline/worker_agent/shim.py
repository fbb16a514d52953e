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
- The shim itself is killed: its commands live on as orphans, whom its parent must see to: on one
  machine that is the agent, which is a subreaper, too (`__main__`); in a pod the kernel does it.
- SIGTERM is told to the agent and otherwise ignored; BYE ends the shim. In a container only a
  SIGTERM from outside counts (sender 0): user code may have the shim's user id.
"""

import contextlib
import errno
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from trunkline.worker_agent import children, linux, protocol, rights, users
from trunkline.worker_agent.protocol import Frame, HelloFlag, Kind
from trunkline.worker_agent.starting import NotStartedError, Starter

_RECEIVE_BYTES = 16 * 1024
"""More than most frames; a buffer over some ten KiB more is mapped anew by each call."""
_RETRY_S = 0.02
_TERMINATING_FIRST_S, _TERMINATING_AGAIN_S = 10.0, 3.0
"""Seconds without an agent after SIGTERM: one that is only starting may still have to be told; one that
was there is over."""
_OPENED = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Show = Callable[[str, str], None]
"""(directory, path): lets commands see the one at the other, or raises OSError."""

EXIT_DONE = 0
EXIT_AGENT_LOST = 75


class Shim:
    """One connection to an agent and the commands that it started."""

    def __init__(
        self,
        link: socket.socket,
        signals: int,
        *,
        flags: HelloFlag,
        inside: bool,
        show: Show | None = None,
    ) -> None:
        """Take over a connected socket and a signal descriptor.

        Args:
            link: To the agent.
            signals: From `linux.signal_fd`, with SIGCHLD and SIGTERM.
            flags: For HELLO.
            inside: Whether this is a container's first process, where only the kubelet's SIGTERM
                (sender 0) counts.
            show: Lets commands see a directory at a path; None where that cannot be done.
        """
        link.set_inheritable(False)  # or a command could speak as the shim, and hide its end
        self._link = link
        self._signals = signals
        self._flags = flags
        self._inside = inside
        self._show = show
        self._decoder = protocol.Decoder()
        self._descriptors: list[int] = []
        self._here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._starters: dict[int, Starter] = {}
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
            for number, _ in poll.poll():
                if number == self._signals:
                    self._take_signals()
                else:
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
        try:
            data, ancillary, _, _ = self._link.recvmsg(
                _RECEIVE_BYTES, protocol.ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except InterruptedError:
            return True
        except OSError:
            return False
        if ancillary:
            self._descriptors += protocol.descriptors(ancillary)
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
            case Kind.RECIPE:
                self._keep(each)
            case Kind.KILL:
                number = protocol.read_kill(each.payload)
                for leader in [pid for pid, one in self._commands.items() if one.id == each.id]:
                    children.signal_group(leader, number)
            case Kind.BYE:
                self._bye = True
            case Kind.CHMOD:
                error, entries = rights.open_up(protocol.read_chmod(each.payload))
                self._send(protocol.pair(Kind.CHMOD, each.id, error, entries))
            case Kind.OPEN:
                self._open(each)
            case Kind.MOUNT:
                self._send(protocol.pair(Kind.MOUNT, each.id, self._shown(each)))
            case _:
                pass  # of a newer agent

    def _keep(self, each: Frame) -> None:
        if each.id >= protocol.RECIPES:
            raise protocol.ProtocolError("a recipe of this number", each.id)
        recipe = protocol.read_recipe(each.payload)
        if len(self._descriptors) < 3:
            raise protocol.ProtocolError("a recipe without its descriptors")
        descriptors, self._descriptors = self._descriptors[:3], self._descriptors[3:]
        if each.id in self._starters:
            self._starters[each.id].close()
        self._starters[each.id] = Starter(recipe, descriptors)

    def _spawn(self, each: Frame) -> None:
        number, own = protocol.read_spawn(each.payload)
        starter = self._starters.get(number)
        if starter is None:
            raise protocol.ProtocolError("no recipe of this number", number)
        try:
            pid = starter.start(own, self._here)
        except NotStartedError as error:
            self._send(protocol.pair(Kind.SPAWN, each.id, error.number, error.step))
        else:
            self._commands[pid] = _Command(each.id)

    def _open(self, each: Frame) -> None:
        flags, path, user = protocol.read_open(each.payload)
        try:
            # a pipe that nobody writes to must not hold us up
            with users.with_rights_of(users.find(user)):
                number = os.open(path, flags | _OPENED, 0o666)
        except OSError as error:
            self._send(protocol.pair(Kind.OPEN, each.id, error.errno or 1))
            return
        try:
            self._send(protocol.pair(Kind.OPEN, each.id, 0), number)
        finally:
            os.close(number)

    def _shown(self, each: Frame) -> int:
        """Show a directory; return the errno."""
        if self._show is None:
            return errno.ENOSYS
        try:
            self._show(*protocol.read_mount(each.payload))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    # --- the end of commands ----------------------------------------------------------------------

    def _reap(self) -> None:
        done: list[tuple[int, protocol.Exited]] = []
        alone = False
        try:
            while (pid := children.ended()) is not None:
                if pid in self._commands:
                    children.signal_group(pid, signal.SIGKILL)
                _, status, usage = os.wait4(pid, 0)
                command = self._commands.pop(pid, None)
                if command is not None:
                    done.append((command.id, _exited(command, status, usage)))
        except ChildProcessError:
            alone = True
        left = children.sweep() if done and not (alone or self._commands) else 0
        for number, exited in done:
            self._send(protocol.exited(number, exited._replace(left=left) if left else exited))

    def _end_all(self) -> None:
        for leader in self._commands:
            children.signal_group(leader, signal.SIGKILL)
        self._commands.clear()
        children.sweep()
        for starter in self._starters.values():
            starter.close()
        self._starters.clear()
        for number in (*self._descriptors, self._here):
            os.close(number)
        self._descriptors.clear()

    def _send(self, data: bytes, descriptor: int | None = None) -> None:
        try:
            if descriptor is None:
                self._link.sendall(data)
            else:
                sent = socket.send_fds(self._link, [data], [descriptor])
                self._link.sendall(data[sent:])
        except OSError:
            return  # the agent is gone: end of file follows


class _Command:
    """A command that runs."""

    def __init__(self, number: int) -> None:
        self.id = number
        self.began_s = time.monotonic()


def _exited(command: _Command, status: int, usage: resource.struct_rusage) -> protocol.Exited:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return protocol.Exited(
        status=status,
        wall_us=int((time.monotonic() - command.began_s) * 1e6),
        user_us=int(usage.ru_utime * 1e6),
        system_us=int(usage.ru_stime * 1e6),
        # the kernel has it begin at what the process had before it became the command: our own
        peak_rss_kib=usage.ru_maxrss if usage.ru_maxrss > own else 0,
        major_faults=usage.ru_majflt,
        blocks_in=usage.ru_inblock,
        blocks_out=usage.ru_oublock,
    )


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


def serve_one(
    link: socket.socket, *, flags: HelloFlag = protocol.NO_FLAGS, show: Show | None = None
) -> int:
    """Serve the agent at the other end of a socket until it is gone; return the exit code.

    The shim of a local worker: its agent is its parent, and there will be no other. For `show` see Shim.
    """
    shim = Shim(link, prepare(), flags=flags, inside=False, show=show)
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
    since_s, terminating_s = time.monotonic(), _TERMINATING_FIRST_S
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(path)
        except OSError as error:
            link.close()
            flags |= _terminated(signals, inside=inside)
            patience_s = terminating_s if HelloFlag.TERMINATING in flags else wait_s
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
        since_s, terminating_s = time.monotonic(), _TERMINATING_AGAIN_S


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
