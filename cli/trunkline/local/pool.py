"""The process pool of an installation on one machine: `python -m trunkline.local.pool`.

It is to the local scaler what a kubelet is to Kubernetes: it starts, ends and watches worker
processes by name, and knows nothing of pipelines. One thread, no event loop of asyncio's: it forks
(see `forkserver`), and a process that forks must have nothing half done.

What happens when something dies:

- a client (the scaler): nothing. The workers go on; the next client lists them;
- a worker: all of its session is killed, its directory removed, watchers are told;
- the pool, by SIGTERM: it tells all workers to end, waits for their grace, kills the rest;
- the pool, by SIGKILL: the kernel kills the workers with it. The next pool (a lock file says that
  there is never a second) clears their directories.
"""

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec

from trunkline.contracts import errors
from trunkline.local import forkserver, pool_wire
from trunkline.local.home import Home, default_root
from trunkline.local.pool_workers import RefusedError, Workers
from trunkline.runtime import logs, settings

log = logging.getLogger(__name__)

_TICK_S = 1.0
_BACKLOG_MAX_BYTES = 4 << 20
"""A client that lets this much wait is hung up on; it comes back and asks for the list."""
_LOCK_WAIT_S = 15.0
"""How long a former pool may take to end."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    home: str
    """The state directory."""
    pool_entry: str = forkserver.ENTRY
    """What a worker runs, as `module:function`."""
    pool_stop_s: float = 8.0
    """Grace of the workers when the pool itself is told to end; below what its supervisor gives."""


class AnotherPoolError(errors.TrunklineError):
    """There is a pool already."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"another pool holds {os.fspath(path)!r}; end it first")
        self.path = path


class _Client:
    """One connection: what came in and is no whole line yet, and what waits to go out."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = bytearray()
        self.waiting = bytearray()
        self.watches = False


class Pool:
    """The loop: sockets, signals, deadlines."""

    def __init__(self, run: forkserver.Entry, home: Home, *, stop_s: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, _Client] = {}
        self._stop_s = stop_s
        self._terms = 0
        self._stopping = False
        self._decoder = msgspec.json.Decoder(pool_wire.Request)
        self._signalled, self._signals = socket.socketpair()
        for end in (self._signalled, self._signals):
            end.setblocking(False)
        self._server = _listen(home.pool_socket)
        self._selector.register(self._server, selectors.EVENT_READ)
        self._selector.register(self._signalled, selectors.EVENT_READ)
        self._workers = Workers(
            run,
            directories=home.workers,
            logs=home.logs / "workers",
            let_go=self._let_go,
            tell=self._tell,
        )

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then return once all workers are gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._term)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
        ticked_s = 0.0
        while not (self._stopping and not self._workers.all()):
            kill_s = self._workers.next_kill_s()
            ready = self._selector.select(_TICK_S if kill_s is None else min(kill_s, _TICK_S))
            for key, events in ready:
                self._handle(key.fileobj, events)
            self._workers.reap()
            if self._terms:
                self._stop()
            if time.monotonic() - ticked_s >= _TICK_S or self._workers.next_kill_s() == 0:
                ticked_s = time.monotonic()
                self._workers.tick()

    def _stop(self) -> None:
        """End all workers in their grace; told a second time, at once."""
        self._stopping = True
        for worker in self._workers.all():
            self._workers.delete(worker.name, self._stop_s if self._terms == 1 else 0.0)

    def _term(self, _number: int, _frame: FrameType | None) -> None:
        self._terms += 1

    def _handle(self, ready: object, events: int) -> None:
        if ready is self._server:
            self._accept()
        elif ready is self._signalled:
            with contextlib.suppress(BlockingIOError):
                self._signalled.recv(4096)
        elif isinstance(ready, socket.socket) and ready in self._clients:
            client = self._clients[ready]
            if events & selectors.EVENT_READ:
                self._read(client)
            if events & selectors.EVENT_WRITE:
                self._write(client)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # gone again, or no descriptor free: it tries again
            connection, _ = self._server.accept()
            connection.setblocking(False)
            self._clients[connection] = _Client(connection)
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        client.received += data
        *lines, rest = bytes(client.received).split(b"\n")
        if not data or len(rest) > pool_wire.LINE_MAX_BYTES:
            self._hang_up(client)
            return
        client.received = bytearray(rest)
        for line in lines:
            try:
                request = self._decoder.decode(line)
            except msgspec.DecodeError as error:
                log.warning("a client was hung up on", extra={"reason": str(error)})
                self._hang_up(client)
                return
            self._send(client, self._answer(client, request))

    def _answer(self, client: _Client, request: pool_wire.Request) -> pool_wire.Answer:
        code = text = ""
        listed: tuple[pool_wire.Process, ...] = ()
        match request:
            case pool_wire.Create() if self._stopping:
                code, text = "stopping", "the pool is being stopped"
            case pool_wire.Create():
                try:
                    self._workers.create(request.name, request.environ, request.labels)
                except RefusedError as error:
                    code, text = error.code, str(error)
            case pool_wire.Delete():
                self._workers.delete(request.name, request.grace_s)
            case pool_wire.List():
                listed = self._workers.all()
            case pool_wire.Watch():
                client.watches = True
                listed = self._workers.all()
        return pool_wire.Answer(id=request.id, code=code, text=text, workers=listed)

    def _tell(self, event: pool_wire.Started | pool_wire.Exited) -> None:
        for client in list(self._clients.values()):
            if client.watches:
                self._send(client, event)

    def _send(self, client: _Client, message: pool_wire.Told) -> None:
        client.waiting += msgspec.json.encode(message) + b"\n"
        if len(client.waiting) > _BACKLOG_MAX_BYTES:
            self._hang_up(client)
        else:
            self._write(client)

    def _write(self, client: _Client) -> None:
        if client.socket not in self._clients:
            return
        try:
            sent = client.socket.send(client.waiting) if client.waiting else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._hang_up(client)
            return
        del client.waiting[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.waiting else 0)
        self._selector.modify(client.socket, wanted)

    def _hang_up(self, client: _Client) -> None:
        if self._clients.pop(client.socket, None) is not None:
            self._selector.unregister(client.socket)
            client.socket.close()

    def _let_go(self) -> None:
        """Close, in a forked child, what is the pool's."""
        self._selector.close()
        for each in (self._server, self._signalled, self._signals, *self._clients):
            each.close()


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock that says there is one pool; wait a little for a former one to end."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise AnotherPoolError(path) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _listen(path: Path) -> socket.socket:
    """Return the listening socket, its file for this user alone; one that a dead pool left goes."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with pool_wire.address(path) as address:
            server.bind(address)
    finally:
        os.umask(before)
    server.listen(64)
    server.setblocking(False)
    return server


def main() -> None:
    """Entry point of the pool's process."""
    logs.configure("pool")
    config = settings.load(
        Settings, {"TRUNKLINE_HOME": str(default_root(os.environ)), **os.environ}
    )
    home = Home(Path(config.home))
    home.make()
    began_s = time.monotonic()
    run = forkserver.preload(config.pool_entry)
    forkserver.adopt_orphans()
    with only_one(home.root / "pool.lock"):
        pool = Pool(run, home, stop_s=config.pool_stop_s)
        took_s = round(time.monotonic() - began_s, 3)
        log.info("ready", extra={"took_s": took_s, "threads": forkserver.threads()})
        pool.serve()
        home.pool_socket.unlink(missing_ok=True)
    log.info("stopped")


if __name__ == "__main__":
    main()
