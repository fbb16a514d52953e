"""`python -m bench`: run workloads in turn; print tables, and write all figures as JSON."""

import argparse
import asyncio
import dataclasses
import datetime
import json
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import cgroups, endurance, environments, figures, machine, tables, targets, workloads
from bench.workloads import Plan

WORKLOADS: dict[str, Callable[[Plan], Awaitable[list[figures.Run]]]] = {
    "w1": workloads.w1,
    "w1s": workloads.w1s,
    "w2": workloads.w2,
    "w3": workloads.w3,
    "w3p": workloads.w3p,
    "w4": workloads.w4,
    "w5": workloads.w5,
    "big": endurance.big,
    "storm": endurance.storm,
}
DEFAULT = "w1,w1s,w2,w3,w3p,w4,w5"
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--only", default=DEFAULT, help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--peers", default="", help=f"in W1 to W3: of {','.join(environments.PEERS)}"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of datums")
    now = datetime.datetime.now(datetime.UTC)
    usual = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    parser.add_argument("--json", type=Path, default=usual, help="where all figures are written")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)  # clients tell of every server that is killed
    peers, only = _listed(asked.peers), _listed(asked.only)
    if problem := environments.missing(peers):
        parser.error(problem)
    if unknown := [each for each in only if each not in WORKLOADS]:
        parser.error(f"no such workloads: {', '.join(unknown)}")
    loads = {"before": machine.load()}
    with cgroups.entered() as group:
        plan = Plan(runs=asked.runs, peers=tuple(peers), scale=asked.scale, group=group)
        runs, failed = _measured(only, plan)
    loads["after"] = machine.load()
    found = figures.Found(runs)
    print("\n".join([*tables.workloads(found), *tables.by_kind(found), *tables.extras(found), ""]))
    print("\n".join(targets.table(found)))
    told = {
        "at": now.isoformat(timespec="seconds"),
        **machine.described(),
        "load": loads,
        "cgroup": group is not None,
        "asked": {"only": only, "runs": plan.runs, "scale": plan.scale, "peers": peers},
        "targets": targets.reached(found),
        "runs": [_described(run) for run in runs],
    }
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{asked.json}")
    return min(failed, 1)


def _measured(only: list[str], plan: Plan) -> tuple[list[figures.Run], int]:
    """Return all runs, and how many workloads failed."""
    runs: list[figures.Run] = []
    failed = 0
    for name in only:
        print(f"{name} ... (load {machine.load():.1f})", file=sys.stderr, flush=True)
        try:
            runs += asyncio.run(_awaited(WORKLOADS[name](plan)))
        except Exception:  # the others are still worth their figures
            traceback.print_exc()
            failed += 1
    return runs, failed


async def _awaited(body: Awaitable[list[figures.Run]]) -> list[figures.Run]:
    return await body


def _listed(text: str) -> list[str]:
    return [each for each in text.split(",") if each]


def _described(run: figures.Run) -> dict[str, object]:
    derived = {"rate": run.rate, "cpu_us": run.cpu_us, "cpu_us_of": run.cpu_us_of}
    return dataclasses.asdict(run) | derived


if __name__ == "__main__":
    sys.exit(main())
