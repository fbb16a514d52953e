"""The life of a service's process: run until SIGTERM or SIGINT, unwind, leave with a true code."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


async def until_stopped(service: Coroutine[Any, Any, None]) -> None:
    """Run the service; a first SIGTERM or SIGINT cancels it, and its `finally` blocks drain."""
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(service, name="service")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            await asyncio.wait([task])
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
    if not stopped and task.cancelled():
        raise asyncio.CancelledError


def run(service: Coroutine[Any, Any, None]) -> None:
    """Run a service as a process's main: uvloop where there is one, asyncio otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(until_stopped(service))
    else:
        uvloop.run(until_stopped(service))
