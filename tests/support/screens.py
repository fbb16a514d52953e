"""A real terminal of some size, what a command draws on it, and another size while it runs."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_HOME = b"\x1b[H"


class Screen:
    """What a command draws, frame by frame."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._drawn = b""

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size; the kernel tells the command."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def frame(self, fits: Callable[[list[str]], bool], *, within_s: float = 60) -> list[str]:
        """Return the lines of the first frame from now on of which this is true, without colours."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if select.select([self._terminal], [], [], 0.1)[0]:
                self._drawn += os.read(self._terminal, 65536)
            frames = self._drawn.split(_HOME)
            self._drawn = frames[-1]  # it may not be whole
            for frame in frames:
                lines = [
                    each.rstrip()
                    for each in _STYLE.sub("", frame.decode(errors="replace")).splitlines()
                ]
                if fits(lines):
                    return lines
        message = f"no such frame: {self._drawn!r}"
        raise AssertionError(message)


@contextlib.contextmanager
def drawn_by(
    command: Sequence[str], environ: Mapping[str, str], *, columns: int, rows: int
) -> Iterator[Screen]:
    """Run a command on a terminal of this size; interrupt it in the end, and see it leave in good order."""
    terminal, theirs = pty.openpty()
    screen = Screen(terminal)
    screen.resize(columns, rows)
    environ = {**environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES"):
        environ.pop(name, None)

    # an interrupt is ignored where a shell has started all of this in the background
    plain = ["env", "--default-signal=INT", "setsid", "--ctty", *command]
    process = subprocess.Popen(plain, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    try:
        yield screen
        os.write(terminal, b"\x03")
        with contextlib.suppress(OSError):  # nobody has the other end any more
            while os.read(terminal, 65536):
                pass
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
