"""The pool's workers: started, told to end, and cleared away when they are gone.

    (create) --> running --(delete)--> stopping --grace over--> killed
                    |                      |                       |
                    +--------- its process ends, for whatever reason
                    v
                  gone: session killed, private directory set aside, name free again

A worker's private directory is renamed when the worker is gone and removed by a child, so that a
tree of a million files does not keep the pool from noticing the next death.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from trunkline.contracts import errors, names
from trunkline.local import forkserver, pool_wire

LOG_MAX_BYTES = 4 << 20
LOG_KEPT_BYTES = 1 << 20
"""A worker's log that has grown over the first is cut to its last part of this size."""
LOGS_KEPT = 200
"""Files of workers that were; the oldest are removed when the pool starts."""

_GONE = ".gone-"
_AGAIN_S = 1.0


class RefusedError(errors.TrunklineError):
    """The pool does not start a worker; `code` is told to the client."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Worker:
    """What the pool knows of one worker."""

    def __init__(self, process: pool_wire.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.born_s = time.monotonic()
        self.kill_at_s: float | None = None


class Workers:
    """All workers of one pool; nothing here blocks."""

    def __init__(
        self,
        run: forkserver.Entry,
        *,
        directories: Path,
        logs: Path,
        let_go: Callable[[], None],
        tell: Callable[[pool_wire.Started | pool_wire.Exited], None],
    ) -> None:
        self._run = run
        self._directories = directories
        self._logs = logs
        self._let_go = let_go
        self._tell = tell
        self._workers: dict[str, _Worker] = {}
        self._by_pid: dict[int, _Worker] = {}
        self._remover = 0
        self._remove = False
        self._gone = 0
        for path in (directories, logs):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear_former()

    def all(self) -> tuple[pool_wire.Process, ...]:
        """Return the workers that are not gone, oldest first."""
        return tuple(each.process for each in self._workers.values())

    def create(self, name: str, environ: Mapping[str, str], labels: dict[str, str]) -> None:
        """Start a worker, or raise RefusedError."""
        try:
            names.worker(name)
        except errors.InvalidNameError as error:
            raise RefusedError("invalid", str(error)) from error
        if name in self._workers:
            raise RefusedError("exists", f"worker {name!r} exists already")
        try:
            self._create(name, environ, labels)
        except OSError as error:
            raise RefusedError("refused", f"worker {name!r} cannot be started: {error}") from error

    def delete(self, name: str, grace_s: float) -> None:
        """Tell a worker to end, and see to it after the grace; asked again, the earlier end holds."""
        worker = self._workers.get(name)
        if worker is None:
            return
        kill_at_s = time.monotonic() + grace_s
        if worker.kill_at_s is None:
            worker.process = msgspec.structs.replace(worker.process, stopping=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGTERM)
        worker.kill_at_s = min(kill_at_s, worker.kill_at_s or kill_at_s)

    def reap(self) -> None:
        """Clear away every child that has ended."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            worker = self._by_pid.pop(ended.si_pid, None)
            if worker is not None:
                forkserver.end_session(ended.si_pid)  # before its id may be given to another
            os.waitpid(ended.si_pid, 0)
            if worker is not None:
                self._end(worker, ended)
            elif ended.si_pid == self._remover:
                self._remover = 0
                self._start_remover()

    def tick(self) -> None:
        """Kill what is over its grace or was left by the dead; cut logs that have grown too long."""
        now_s = time.monotonic()
        forkserver.kill_strays({self._remover, *self._by_pid})
        for worker in self._workers.values():
            if worker.kill_at_s is not None and now_s >= worker.kill_at_s:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGKILL)
                worker.kill_at_s = now_s + _AGAIN_S
            with contextlib.suppress(OSError):
                if worker.log.stat().st_size > LOG_MAX_BYTES:
                    _cut(worker.log)

    def next_kill_s(self) -> float | None:
        """Return the seconds until the next grace is over; None while nobody is stopping."""
        ends = [each.kill_at_s for each in self._workers.values() if each.kill_at_s is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _create(self, name: str, environ: Mapping[str, str], labels: dict[str, str]) -> None:
        directory = self._directories / name
        if directory.exists():
            self._set_aside(directory)
        directory.mkdir(mode=0o700)
        log = self._logs / f"{name}.log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            pid = forkserver.fork(
                name,
                self._run,
                _environment(environ, directory),
                directory=directory,
                log=descriptor,
                let_go=self._let_go,
            )
        finally:
            os.close(descriptor)
        process = pool_wire.Process(name=name, pid=pid, created_ns=time.time_ns(), labels=labels)
        self._workers[name] = self._by_pid[pid] = _Worker(process, log)
        self._tell(pool_wire.Started(worker=process))

    def _end(self, worker: _Worker, ended: os.waitid_result) -> None:
        del self._workers[worker.process.name]
        self._set_aside(self._directories / worker.process.name)
        exited = ended.si_code == os.CLD_EXITED
        self._tell(
            pool_wire.Exited(
                worker=worker.process,
                exit_code=ended.si_status if exited else None,
                signal=None if exited else ended.si_status,
                lived_s=round(time.monotonic() - worker.born_s, 3),
            )
        )

    def _clear_former(self) -> None:
        """Remove what a pool left that was killed; its workers died with it."""
        for path in self._directories.iterdir():
            if not path.name.startswith(_GONE):
                self._set_aside(path)
        self._start_remover()
        with contextlib.suppress(OSError):
            files = sorted(self._logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
            for path in files[: max(0, len(files) - LOGS_KEPT)]:
                path.unlink()

    def _set_aside(self, directory: Path) -> None:
        self._gone += 1
        with contextlib.suppress(OSError):
            directory.rename(self._directories / f"{_GONE}{os.getpid()}-{self._gone}")
        self._remove = True
        self._start_remover()

    def _start_remover(self) -> None:
        if self._remove and not self._remover:
            self._remove = False
            with contextlib.suppress(OSError):  # no room for a process: at the next death
                self._remover = forkserver.remove_trees(self._directories, _GONE, self._let_go)


def _environment(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Return a worker's environment: ours without what is meant for services, and its own."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("TRUNKLINE_")}
    return {**inherited, "TRUNKLINE_HOME_DIR": os.fspath(directory), **environ}


def _cut(log: Path) -> None:
    """Keep the end of a log that is being written to; appends of others may fall in between."""
    with log.open("rb") as file:
        file.seek(-LOG_KEPT_BYTES, os.SEEK_END)
        kept = file.read()
    with log.open("ab") as file:
        file.truncate(0)
        file.write(b"... the beginning was cut off\n" + kept[kept.find(b"\n") + 1 :])
