"""The work itself, the same for every reference and peer: each task takes bytes and answers.

    noop   nothing, of 200 bytes
    sleep  10 ms
    copy   `/bin/cat` of a file of 1 KB into another; that all came out is checked at the end

Only the standard library is used here: peers run in virtual environments of their own.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAYLOAD = b"x" * 200
SLEEP_S = 0.010
FILE_BYTES = 1024
WARM = 100
"""How many tasks are done before the clock starts."""


def noop(payload: bytes) -> int:
    """Do nothing."""
    return len(payload)


def sleep(payload: bytes) -> int:
    """Take some time."""
    time.sleep(SLEEP_S)
    return len(payload)


def copy(payload: bytes) -> int:
    """Copy one file by a process of its own; return how that ended."""
    return os.waitpid(copying(payload), 0)[1]


def copying(payload: bytes) -> int:
    """Start a process that copies one file; `payload` is its path without an ending."""
    path = payload.decode()
    files = (
        (os.POSIX_SPAWN_OPEN, 0, f"{path}.in", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, f"{path}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    )
    return os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=files)


WORK: dict[str, Callable[[bytes], int]] = {"noop": noop, "sleep": sleep, "copy": copy}


@contextmanager
def prepared(work: str, count: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield the tasks to warm up with, and those to measure; check their files at the end."""
    if work != "copy":
        yield [PAYLOAD] * WARM, [PAYLOAD] * count
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number:07}") for number in range(WARM + count)]
        for path in paths:
            path.with_suffix(".in").write_bytes(path.name.encode().ljust(FILE_BYTES, b"."))
        payloads = [os.fsencode(path) for path in paths]
        yield payloads[:WARM], payloads[WARM:]
        missing = [path for path in paths if not _copied(path)]
        if missing:
            sys.exit(f"{len(missing)} of {len(paths)} files were not copied")


def _copied(path: Path) -> bool:
    try:
        return path.with_suffix(".out").read_bytes() == path.with_suffix(".in").read_bytes()
    except FileNotFoundError:
        return False
