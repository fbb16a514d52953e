"""Runs a module's process, and on SIGHUP another one in its place: `python reloading.py trunkline.coordinator`.

It is the first process of a container whose code somebody may replace while it runs: a container that ended would be
started again later each time, and without the new code. SIGTERM and SIGINT end both. A process that ends by itself
ends us, too, with its code; one that was started after a SIGHUP is waited for until the next one, since its
code is being worked on.
"""

import asyncio
import signal
import sys


async def run(*command: str) -> int:
    """Return the exit code of the last process."""
    heard: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard.put_nowait, number)
    replaced = False
    while True:
        process = await asyncio.create_subprocess_exec(*command)
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(process.wait(), name="process")
            told = tasks.create_task(heard.get(), name="signals")
            await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
            elif replaced:
                say(f"the new code ended with {ended.result()}; waiting for it to be changed")
            else:
                told.cancel()
        if told.cancelled() or told.result() is not signal.SIGHUP:
            return ended.result()
        replaced = True
        say("the code has changed: starting it anew")


def say(text: str) -> None:
    """Tell whoever reads the container's log."""
    sys.stderr.write(f"reloading: {text}\n")


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.executable, "-m", *sys.argv[1:])))
