"""Whether processes that tests have started, or seen started, are still there."""

import asyncio
import contextlib

import psutil


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended, and nobody has waited for, does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def gone(pid: int) -> None:
    """Return once it does not."""
    async with asyncio.timeout(10):
        while alive(pid):
            await asyncio.sleep(0.005)
