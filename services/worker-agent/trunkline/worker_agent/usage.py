"""What a living process uses: the part that can be read from outside of it.

A warm command's datums are told apart by what it has used at their beginning and at their end. That is
right to the microsecond for its first process, whatever its threads. Of that process's children only
those count that have ended and were waited for, and only to the tick of 10 ms; children that live on, and
all that has left, do not. In a pod, where the command's processes are out of our sight, it is nothing.
"""

import os
import time
from typing import NamedTuple

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_CHILDREN = slice(13, 15)
"""cutime and cstime, counted behind the name in `/proc/<pid>/stat`."""
_READ_BYTES = 4096
_RSS_ALONE = b"5"


class Usage(NamedTuple):
    """How much."""

    cpu_s: float = 0.0
    """Since the process was started."""
    peak_rss_bytes: int = 0
    """Since it was last asked to be forgotten."""


class Gauge:
    """Reads what one process uses; once it has ended, that is nothing."""

    def __init__(self, pid: int) -> None:
        """Look at a process; 0: at none."""
        # the kernel's number of another process's CPU clock, as by clock_getcpuclockid(3)
        self._clock = (~pid << 3) | 2
        self._files: list[int] = []
        try:
            if pid > 0:
                for name, flags in _FILES:
                    self._files.append(os.open(f"/proc/{pid}/{name}", flags | os.O_CLOEXEC))
        except OSError:  # it is gone, or not ours
            self.close()

    def read(self) -> Usage:
        """Return what the process has used."""
        if not self._files:
            return Usage()
        stat, status, _ = self._files
        try:
            own_s = time.clock_gettime(self._clock)
            fields = os.pread(stat, _READ_BYTES, 0).rpartition(b")")[2].split()
            _, _, peak = os.pread(status, _READ_BYTES, 0).partition(b"VmHWM:")
        except OSError:
            return Usage()
        children_s = sum(int(each) for each in fields[_CHILDREN]) * _TICK_S
        kib = int(peak.split(None, 1)[0]) if peak else 0
        return Usage(own_s + children_s, kib * 1024)

    def forget_peak(self) -> None:
        """Let the peak of its memory begin anew at what it has now, where that is allowed."""
        if self._files:
            try:
                os.pwrite(self._files[2], _RSS_ALONE, 0)
            except OSError:
                return

    def close(self) -> None:
        """Look no more."""
        for each in self._files:
            os.close(each)
        self._files.clear()


_FILES = (("stat", os.O_RDONLY), ("status", os.O_RDONLY), ("clear_refs", os.O_WRONLY))
