"""Starts a NATS server again whose disk was full, once there is room.

    room --(no space left)--> full: told --(room again)--> the server is ended, and started again by its supervisor --> room
                                                               (once in REST_S at most)

A nats-server that could not write to a stream refuses each further write to it, for as long as it lives, whatever room there
is by then. What it has said to be stored is stored; what it could not store it has not answered, and its senders repeat
that until it is. So nothing is lost by starting it again, and nothing goes on without.

That the disk was full is seen by what is free, and by what the server says: it may have been so between two looks, or for
this user only (a quota); but where logs lie on the same disk, they may say nothing. A log also quotes what clients say
of themselves, their names and what they ask for: so only a line of the server's own counts that ends with the system's word,
which is a failed write. That there is room again is tried by taking some, which a quota refuses, too. All is seen anew after
a crash of the supervisor, which starts the servers again anyway.
"""

import asyncio
import contextlib
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from trunkline.local.children import Child

LOOK_S = 1.0
LOW_BYTES = 1 << 20
"""Less than this is full: a block of a stream is written in pieces of some KB to a MB."""
ROOM_BYTES = 16 << 20
"""So much must be free before a server is started again, which writes some of it."""
REST_S = 60.0
"""Between two restarts of a server, so that nothing that is wrong here keeps it from its work."""
_SAID = re.compile(
    rb"^\[\d+\] \S+ \S+ \[(?:WRN|ERR|FTL)\] (?!.* - [a-z]+:\d)"
    rb".*: (?:no space left on device|disk quota exceeded)\r?$",
    re.MULTILINE,
)
"""Of a connection's line the server says which one, such as ` - cid:7 - `; what a client says stands in quotes, escaped."""


class Watched:
    """The log of a server, read on from where it ended at the last look."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = self._size()

    def says_full(self) -> bool:
        """Return whether it has said since the last look that there was no room."""
        size = self._size()
        if size < self._at:
            self._at = 0  # it was rotated
        if size == self._at:
            return False
        with self._log.open("rb") as file:
            file.seek(self._at)
            fresh = file.read(size - self._at)
        whole = fresh[: fresh.rfind(b"\n") + 1]  # the rest is read with its end
        self._at += len(whole)
        return _SAID.search(whole) is not None

    def skip(self) -> None:
        """Pass over what was said up to now."""
        self._at = self._size()

    def _size(self) -> int:
        try:
            return self._log.stat().st_size
        except FileNotFoundError:
            return 0


async def watch(
    servers: Mapping[str, Child],
    directory: Path,
    logs: Path,
    tell: Callable[[str], None],
    *,
    look_s: float = LOOK_S,
    rest_s: float = REST_S,
) -> None:
    """Watch the disk of these servers for ever.

    Args:
        servers: By name.
        directory: Where all of them write.
        logs: Where each has `<name>.log`.
        tell: Takes lines for people.
        look_s: Seconds between looks.
        rest_s: Seconds between two restarts of one server.
    """
    watched = {name: Watched(logs / f"{name}.log") for name in servers}
    full: set[str] = set()
    rested: dict[str, float] = {}
    while True:
        await asyncio.sleep(look_s)
        free = shutil.disk_usage(directory).free
        said = {name for name, each in watched.items() if each.says_full()}
        found = set(servers) if free < LOW_BYTES else said
        if found - full:
            tell(f"no room in {directory}: nothing is stored and no job goes on until there is")
        full |= found
        due = sorted(name for name in full if rested.get(name, 0.0) <= time.monotonic())
        if due and free >= ROOM_BYTES and _takes(directory):
            for name in due:
                tell(f"there is room again: {name} is started again, since it would refuse writes")
                await _start_again(servers[name])
                watched[name].skip()
                rested[name] = time.monotonic() + rest_s
            full.difference_update(due)


def _takes(directory: Path) -> bool:
    """Return whether a file as large as one write of the server can be written there."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(LOW_BYTES))
    except OSError:
        return False
    return True


async def _start_again(server: Child) -> None:
    starts = server.starts
    if server.pid:
        # it may have ended by itself, which its supervisor has not taken note of yet
        with contextlib.suppress(ProcessLookupError):
            server.kill(signal.SIGTERM)
        await server.started(after=starts)
