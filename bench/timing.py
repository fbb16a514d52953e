"""What every reference and peer does alike: time a body, and print one line of JSON.

Only the standard library is used here: peers run in virtual environments of their own. Start-up and
some warm-up tasks are outside the clock; submission and the last result are inside.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench import cgroups, processes, tasks


@dataclass
class Asked:
    """What the bench wants of a program."""

    work: str
    count: int
    server: str
    """Program of the nats-server, where it is needed."""
    group: cgroups.Group | None


@dataclass
class Proof:
    """That the submitter has seen all that it has asked for."""

    results: int = 0


def asked() -> Asked:
    """Return what the bench asked for; from here on all that is started is measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=tuple(tasks.WORK), default="noop")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--server", default="")
    told = parser.parse_args()
    return Asked(told.work, told.count, told.server, cgroups.joined())


@contextmanager
def measured(told: Asked) -> Iterator[Proof]:
    """Measure the body, and tell; the body counts its results.

    CPU time is what the group was charged, or that of the tree of processes as far as it was
    reaped; the memory is the sum of the living processes' peaks.
    """
    proof = Proof()
    before_s, began = _cpu_s(told.group), time.perf_counter()
    yield proof
    seconds, after_s = time.perf_counter() - began, _cpu_s(told.group)
    if proof.results != told.count:
        sys.exit(f"{proof.results} results of {told.count} tasks")
    figures = {
        "count": told.count,
        "seconds": seconds,
        "cpu_s": after_s - before_s,
        "rss_bytes": sum(processes.peak(pid) for pid in _pids(told.group)),
    }
    print(json.dumps(figures), flush=True)


def _cpu_s(group: cgroups.Group | None) -> float:
    if group is not None:
        return group.cpu_s()
    return sum(each.ticks for each in processes.tree(os.getpid())) * processes.TICK_S


def _pids(group: cgroups.Group | None) -> list[int]:
    if group is not None:
        return group.pids()
    return [each.pid for each in processes.tree(os.getpid())]
