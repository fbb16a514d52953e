"""`python -m bench.cluster.rounds FILE`: the scaler as it is, with a clock on its rounds.

A round is from the look at the cluster until all is decided and begun; what is begun goes on behind it.
At its end it writes a line of JSON: [when it began (ns), seconds, CPU seconds] of each.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from trunkline.contracts.wards import Wards
from trunkline.runtime import logs, stopping
from trunkline.scaler import assembly, service
from trunkline.scaler.kubernetes import installed
from trunkline.scaler.ports import Cluster, ClusterView
from trunkline.scaler.settings import Settings

ROUNDS: list[tuple[int, float, float]] = []


class TimedScaler(service.Scaler):
    """Notes how long each round takes."""

    def __init__(self, config: Settings, cluster: Cluster, wards: Wards, **others: Any) -> None:  # noqa: ANN401
        super().__init__(config, cluster, wards, **others)
        self._look, self._began = cluster.look, (0, 0.0, 0.0)
        cluster.look = self._timed_look  # type: ignore[method-assign]

    async def _timed_look(self) -> ClusterView:
        self._began = time.time_ns(), time.perf_counter(), time.thread_time()
        return await self._look()

    async def _sleep(self, at_most_s: float) -> None:
        at_ns, wall_s, cpu_s = self._began
        ROUNDS.append((at_ns, time.perf_counter() - wall_s, time.thread_time() - cpu_s))
        await super()._sleep(at_most_s)


def main() -> None:
    """Scale until told to stop."""
    logs.configure("scaler")
    assembly.Scaler = TimedScaler  # type: ignore[attr-defined]
    try:
        stopping.run(installed.run(os.environ))
    finally:
        Path(sys.argv[1]).write_text(json.dumps(ROUNDS))


if __name__ == "__main__":
    main()
