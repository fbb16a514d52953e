"""`python -m bench.cluster`: 100 nodes, 200 pods, and the scaler's own process on a real API server.

1. *Up*: the nodes are there, the scaler starts; until all pods are there and claimed for.
2. *Quiet*: nothing happens for some minutes. Each request that is no watch is told.
3. *Events*: a node joins, one leaves, one is cordoned, one opened again, in turn; each time until all is as
   decided. Moments are the API server's own, of its audit log; those of decisions the scaler's.
4. *First pull*: nodes join for a pipeline with real agents; until each new worker asks for its first datum.

In 1 to 3 pods run nothing and stand-ins claim for them, so that two cores suffice.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.cluster.plane import build
from tests.cluster.plane.control_plane import ControlPlane

from bench.cluster import audit, site
from bench.cluster.report import Change, Found, Report
from bench.cluster.site import PAUSING, WORKING, Site

PER_NODE = 2.0


async def measure(
    plane: ControlPlane, nodes: int, quiet_s: float, turns: int, pulls: int
) -> list[str]:
    """Return the lines of the report."""
    async with site.running(plane) as made:
        found = await _phases(made, nodes, quiet_s, turns, pulls)
        rounds = await site.stopped(made)
        requests = audit.read(plane.audit_log)
        return Report(found, requests, rounds, made.user).lines()


async def _phases(made: Site, nodes: int, quiet_s: float, turns: int, pulls: int) -> Found:
    marks, cpu_s = [], []

    def mark() -> None:
        marks.append(time.time_ns())
        cpu_s.append(made.scaler_cpu_s)

    async with asyncio.TaskGroup() as tasks:
        for number in range(nodes):
            tasks.create_task(made.node(f"n{number}", PAUSING), name="join")
    mark()
    await made.apply(PAUSING, ["true"], {"coefficient": PER_NODE})
    async with made.standing_in(PAUSING):
        await made.settled(PAUSING, int(nodes * PER_NODE), within_s=300)
        await asyncio.sleep(5.0)  # its Events are told behind it
        mark()
        await asyncio.sleep(quiet_s)
        mark()
        changes = [each for turn in range(turns) for each in await _turn(made, nodes, turn)]
        mark()
        decided = [each.at_ns for each in await made.decisions(PAUSING)]
        pulled = await _first_pulls(made, pulls)
    return Found(marks=marks, cpu_s=cpu_s, changes=changes, pulls_s=pulled, decisions_ns=decided)


async def _turn(made: Site, nodes: int, turn: int) -> list[Change]:
    """Let a node join and another one leave, be cordoned, be opened."""
    joined, leaving, closed = f"j{turn}", f"n{turn}", f"n{nodes - 1 - turn}"
    acts: list[tuple[str, str, Callable[[], Awaitable[None]], int]] = [
        ("join", joined, lambda: made.node(joined, PAUSING), nodes + 1),
        ("leave", leaving, lambda: made.kubelet.remove_node(leaving), nodes),
        ("cordon", closed, made.kubelet.nodes[closed].cordon, nodes - 1),
        ("uncordon", closed, made.kubelet.nodes[closed].uncordon, nodes),
    ]
    changes = []
    for kind, name, act, count in acts:
        since_ns = time.time_ns()
        await act()
        await made.settled(PAUSING, int(count * PER_NODE), within_s=60)
        changes.append(Change(kind, name, since_ns, time.time_ns()))
    return changes


async def _first_pulls(made: Site, count: int) -> list[float]:
    """Return the seconds from each node's joining to the first pull of the worker that it brings."""
    made.real_agents()
    await made.apply(WORKING, ["sleep", "600"], {"coefficient": 1.0})
    await made.work(WORKING, 10 * count)
    known: set[str] = set()
    found = []
    for number in range(count + 1):
        since_ns = time.time_ns()
        await made.node(f"w{number}", WORKING)
        scaling = await made.whole.pulling(WORKING, number + 1)
        new = {each.name: each.pulled_ns for each in scaling.workers if each.name not in known}
        known |= new.keys()
        found += [(each - since_ns) / 1e9 for each in new.values()]
    return found[1:]  # the first one waited for its node


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--quiet-s", type=float, default=240.0)
    parser.add_argument("--turns", type=int, default=10, help="of four events each")
    parser.add_argument("--pulls", type=int, default=10, help="nodes with real agents")
    asked = parser.parse_args()
    with ControlPlane(build.find_or_build(), audited=True) as plane:
        lines = asyncio.run(measure(plane, asked.nodes, asked.quiet_s, asked.turns, asked.pulls))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
