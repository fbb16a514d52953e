"""How a process ends that a signal asks to: by what it is called, if it does at all."""

import signal
import subprocess
import sys

import pytest

_SERVES = """
import asyncio, signal, sys
from trunkline.runtime import stopping
if sys.argv[1:]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
async def serve():
    print("up", flush=True)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as error:
        print(*error.args, flush=True)
        raise
stopping.run(serve())
"""


def served(*numbers: signal.Signals, nohup: bool = False) -> tuple[int, str]:
    """Serve until these signals have come; return the code, and by what it was ended."""
    command = [sys.executable, "-c", _SERVES, *(["nohup"] if nohup else [])]
    # what is ignored here would be there, too
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        for number in numbers:
            process.send_signal(number)
        told, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, told.strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_serves_unwinds_by_the_name_of_the_signal(number: signal.Signals) -> None:
    assert served(number) == (0, number.name)


def test_the_end_of_a_terminal_that_is_to_be_ignored_ends_nobody() -> None:
    assert served(signal.SIGHUP, signal.SIGTERM, nohup=True) == (0, "SIGTERM")
