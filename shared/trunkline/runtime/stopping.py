"""The life of a service's process: run until a signal that asks for its end, unwind, leave with a true code.

SIGHUP, which a terminal sends when it is closed, is one of them unless it is to be ignored (`nohup`): left to itself it
would end the process at once, and nobody could say why.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from trunkline.runtime import logs

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def until_stopped(service: Coroutine[Any, Any, None]) -> None:
    """Run the service; a first signal cancels it, by its name, and its `finally` blocks drain."""
    loop = asyncio.get_running_loop()
    logs.say_failures(loop)
    stopped = False

    numbers = [each for each in ENDING if each is not signal.SIGHUP or not _ignored(each)]

    def stop(name: str) -> None:
        nonlocal stopped
        stopped = True
        task.cancel(name)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(service, name="service")
        for number in numbers:
            loop.add_signal_handler(number, stop, number.name)
        try:
            await asyncio.wait([task])
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
    if not stopped and task.cancelled():
        raise asyncio.CancelledError


def _ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN


def run(service: Coroutine[Any, Any, None]) -> None:
    """Run a service as a process's main: uvloop where there is one, asyncio otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(until_stopped(service))
    else:
        uvloop.run(until_stopped(service))
