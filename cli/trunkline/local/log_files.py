"""Logs of services, kept from growing without end.

    it.log over MOST_BYTES --> copied to it.log.1, in the place of the one before --> emptied

A service has its log open for as long as it lives and appends to it, so the file stays and what is in it moves. What it
writes between the last byte that is copied and the emptying is lost: some lines at most, once in MOST_BYTES. Killed
after the copy, the next look copies again, and what stands in `it.log.1` is in both. Without room for a copy the log is
emptied all the same: it is what fills the disk.
"""

import asyncio
import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024 * 1024
"""Of a log; as much again is kept of what was before."""
LOOK_S = 1.0


async def keep_small(folder: Path, *, most: int = MOST_BYTES, look_s: float = LOOK_S) -> None:
    """Look after all logs in a folder, for ever."""
    while True:
        await asyncio.to_thread(_rotate_all, folder, most)
        await asyncio.sleep(look_s)


def _rotate_all(folder: Path, most: int) -> None:
    for path in sorted(folder.glob("*.log")):
        rotate(path, most)


def rotate(path: Path, most: int = MOST_BYTES) -> bool:
    """Move what is in a log to the one before, if it is over `most` bytes; return whether it was."""
    try:
        if path.stat().st_size <= most:
            return False
        _copy(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate(0)
    except FileNotFoundError:
        return False
    except OSError as error:
        log.warning("log is not rotated", extra={"reason": str(error)})
        return False
    return True


def _copy(path: Path, before: Path) -> None:
    fresh = before.with_name(f"{before.name}.new")
    try:
        shutil.copyfile(path, fresh)
        fresh.chmod(0o600)
        fresh.replace(before)
    except OSError:
        fresh.unlink(missing_ok=True)
