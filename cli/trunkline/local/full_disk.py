"""Starts a NATS server again whose disk was full, once there is room.

    room --(no space left)--> full: told --(room again)--> the server is ended, and started again by its supervisor --> room

A nats-server that could not write to a stream refuses each further write to it, for as long as it lives, whatever room there
is by then. What it has said to be stored is stored; what it could not store it has not answered, and its senders repeat
that until it is. So nothing is lost by starting it again, and nothing goes on without.

That the disk was full is seen by what is free, and by what the server says: it may have been so between two looks, or for
this user only (a quota); but where logs lie on the same disk, they may say nothing. A restart too many does no harm. All is
seen anew after a crash of the supervisor, which starts the servers again anyway.
"""

import asyncio
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from trunkline.local.children import Child

LOOK_S = 1.0
LOW_BYTES = 1 << 20
"""Less than this is full: a block of a stream is written in pieces of some KB to a MB."""
ROOM_BYTES = 16 << 20
"""So much must be free before a server is started again, which writes some of it."""
_SAID = b"no space left on device", b"disk quota exceeded"


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
        self._at = size
        return any(each in fresh for each in _SAID)

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
) -> None:
    """Watch the disk of these servers for ever.

    Args:
        servers: By name.
        directory: Where all of them write.
        logs: Where each has `<name>.log`.
        tell: Takes lines for people.
        look_s: Seconds between looks.
    """
    watched = {name: Watched(logs / f"{name}.log") for name in servers}
    full: set[str] = set()
    while True:
        await asyncio.sleep(look_s)
        free = shutil.disk_usage(directory).free
        said = {name for name, each in watched.items() if each.says_full()}
        found = set(servers) if free < LOW_BYTES else said
        if found - full:
            tell(f"no room in {directory}: nothing is stored and no job goes on until there is")
        full |= found
        if full and free >= ROOM_BYTES:
            for name in sorted(full):
                tell(f"there is room again: {name} is started again, since it would refuse writes")
                await _start_again(servers[name])
                watched[name].skip()
            full.clear()


async def _start_again(server: Child) -> None:
    starts = server.starts
    if server.pid:
        server.kill(signal.SIGTERM)
        await server.started(after=starts)
