"""One program of the control plane, as a child that cannot outlive the tests."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil


class Process:
    """Its output is appended to `<log>`; kill() and start() as often as needed.

    Its environment is ours, unless another is given.
    """

    def __init__(
        self, name: str, command: list[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.command, self.log = name, command, log
        self.environ = None if environ is None else dict(environ)
        self._begun_at = 0
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; to be called in the main thread.

        The kernel kills it when the thread that has started it ends: a killed test run leaves nothing
        behind. In a session of its own it does not hear a terminal's interrupt, so that those who
        still want to say goodbye to the server find it there.
        """
        with self.log.open("ab") as log:
            self._begun_at = log.tell()
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environ,
            )

    @property
    def running(self) -> bool:
        """Say whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def cpu_s(self) -> float:
        """Return the CPU seconds, user and system, that it has used."""
        assert self._child is not None
        used = psutil.Process(self._child.pid).cpu_times()
        return float(used.user + used.system)

    @property
    def said(self) -> bytes:
        """Return what it has written since it was started last."""
        return self.log.read_bytes()[self._begun_at :]

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and kill it when it takes longer than some seconds."""
        try:
            self._end(signal.SIGTERM, timeout_s=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self) -> str:
        """Return the end of its log, for an error message."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 3000))
            return log.read().decode(errors="replace")

    def _end(self, number: int, timeout_s: float | None = None) -> None:
        if self._child is None:
            return
        if self._child.poll() is None:
            os.kill(self._child.pid, number)
        self._child.wait(timeout_s)
        self._child = None
