"""How long nobody leads: `python -m bench.takeover [--rounds N]`.

An installation with standbys, on one server (R1). Its leading coordinator, then its leading scaler, is told to
end (SIGTERM), killed (SIGKILL), stopped (SIGSTOP); printed are the seconds from the signal until a request
is answered by somebody of the next term, or says that the next scaler leads. What ends is started again
by the supervisor under its name, and may inherit; what is stopped is followed when its claim is over.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from trunkline.client.client import Client
from trunkline.contracts import api, errors, subjects
from trunkline.local import stack as stacks

SERVICES = ("coordinator", "scaler")
SIGNALS = (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP)
TARGETS_S = {signal.SIGTERM: 3.0, signal.SIGKILL: 3.0, signal.SIGSTOP: 15.0}
REQUEST_S = 0.5
"""A request that a stopped or ending process has got is not answered, the next one is: so much of what is
printed may be ours."""


async def standing(client: Client, service: str) -> api.Standing:
    """Return who leads a service, without the client's own patience, which would be measured, too."""
    asked = client.connection.request(subjects.api("status"), b"", timeout_s=REQUEST_S)
    reply = msgspec.json.decode((await asked).data, type=api.Reply)
    if not reply.ok:
        raise errors.UnavailableError("status", reply.code)
    status = msgspec.json.decode(reply.result, type=api.Status)
    return next(each for each in status.services if each.service == service)


async def settled(client: Client, service: str) -> api.Standing:
    """Return who leads once another one stands by."""
    while True:
        with contextlib.suppress(errors.UnavailableError):
            found = await standing(client, service)
            if found.leader and set(found.standbys) - {found.leader}:
                return found
        await asyncio.sleep(0.1)


async def takeover_s(stack: stacks.Stack, client: Client, service: str, number: int) -> float:
    """Send the leader a signal; return the seconds until another term is told of."""
    before = await settled(client, service)
    pid = stack.pids[before.leader]
    began = time.monotonic()
    os.kill(pid, number)
    try:
        while True:
            with contextlib.suppress(errors.UnavailableError):
                found = await standing(client, service)
                if found.term > before.term and found.leader:
                    return time.monotonic() - began
            await asyncio.sleep(0.01)
    finally:
        if number == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)


async def measure(rounds: int) -> None:
    """Print a line for each service and signal."""
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        async with (
            stacks.running(Path(folder) / "home", nodes=2, port=0, standbys=True) as stack,
            stack.client() as client,
        ):
            print(f"{'service':<12} {'signal':<8} {'median':>8} {'max':>8}  target")
            for service in SERVICES:
                for number in SIGNALS:
                    took = [await takeover_s(stack, client, service, number) for _ in range(rounds)]
                    median, most = statistics.median(took), max(took)
                    target = TARGETS_S[number]
                    print(
                        f"{service:<12} {number.name:<8} {median:7.2f}s {most:7.2f}s  < {target:g} s"
                    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
