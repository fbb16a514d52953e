"""`python -m bench`: run workloads in turn; print a table, and write all figures as JSON."""

import argparse
import asyncio
import dataclasses
import datetime
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import figures, others, workloads

DEFAULT = ("w1", "w2", "w3", "w4")
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", default=",".join(DEFAULT), help="of w1,w2,w3,w4,big,storm")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default="", help=f"beside W1: of {','.join(others.PEERS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of datums")
    asked = parser.parse_args()
    peers = [each for each in asked.peers.split(",") if each]
    if unknown := set(peers) - set(others.PEERS):
        parser.error(f"no such peers: {', '.join(sorted(unknown))}")
    bodies: dict[str, Callable[[], Awaitable[list[figures.Run]]]] = {
        "w1": lambda: workloads.w1(asked.runs, peers, asked.scale),
        "w2": lambda: workloads.w2(asked.runs, asked.scale),
        "w3": lambda: workloads.w3(asked.runs, asked.scale),
        "w4": lambda: workloads.w4(asked.runs),
        "big": lambda: workloads.big(asked.scale),
        "storm": lambda: workloads.storm(asked.scale),
    }
    found: list[figures.Run] = []
    failed = 0
    for name in asked.only.split(","):
        if name not in bodies:
            parser.error(f"no such workload: {name}")
        print(f"{name} ... (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)
        try:
            found += asyncio.run(_awaited(bodies[name]()))
        except Exception:  # the others are still worth their figures
            traceback.print_exc()
            failed += 1
    print(figures.table(found))
    print()
    print("\n".join(figures.extras(found)))
    _write(found)
    return min(failed, 1)


async def _awaited(body: Awaitable[list[figures.Run]]) -> list[figures.Run]:
    return await body


def _write(found: list[figures.Run]) -> None:
    RESULTS.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    path = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    derived = [dataclasses.asdict(run) | {"rate": run.rate, "cpu_us": run.cpu_us} for run in found]
    told = {"at": now.isoformat(timespec="seconds"), "cores": os.cpu_count(), "runs": derived}
    path.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")


if __name__ == "__main__":
    sys.exit(main())
