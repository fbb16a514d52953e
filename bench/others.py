"""Runs references and peers as programs, each in a control group of its own where there is one."""

import os
import sys

import msgspec

from bench import cgroups, environments, figures
from trunkline.local import server

DEADLINE_S = 300

WORKLOADS = {"W1": "noop", "W1s": "noop", "W2": "copy", "W3": "sleep", "W3p": "sleep", "W5": "noop"}
"""Workload -> what it is among `tasks`."""
COUNTS = {"celery": 2_000, "dask": 3_000, "faststream": 8_000, "ray": 5_000, "taskiq": 2_000}
"""No-op tasks for each peer: some seconds of them. Of longer tasks all run as many as we do."""


class Told(msgspec.Struct, frozen=True):
    """The line that a program prints at its end."""

    count: int
    seconds: float
    cpu_s: float
    rss_bytes: int


class Others:
    """What is compared with us.

    Args:
        group: In which the bench runs, if there is one.
    """

    def __init__(self, group: cgroups.Group | None) -> None:
        self._group = group

    async def reference(self, name: str, workload: str, count: int) -> figures.Run:
        """Run a reference with this interpreter."""
        return await self._run(sys.executable, "references", name, workload, count)

    async def peer(self, name: str, workload: str, count: int) -> figures.Run:
        """Run a peer in its own virtual environment."""
        return await self._run(await environments.python(name), "peers", name, workload, count)

    async def _run(
        self, python: str, kind: str, name: str, workload: str, count: int
    ) -> figures.Run:
        options = ["--work", WORKLOADS[workload], "--count", str(count)]
        options += ["--server", str(server.find_binary(os.environ))]
        command = [python, "-m", f"bench.{kind}.{name}", *options]
        if self._group is None:
            output = await environments.call(*command, deadline_s=DEADLINE_S)
        else:
            with self._group.below(name) as group:
                output = await environments.call(
                    *command, env={cgroups.VARIABLE: str(group.path)}, deadline_s=DEADLINE_S
                )
        return _parsed(output, workload, name)


def _parsed(output: str, workload: str, name: str) -> figures.Run:
    line = next((each for each in reversed(output.splitlines()) if each.startswith("{")), "{}")
    try:
        told = msgspec.json.decode(line, type=Told)
    except msgspec.DecodeError as error:
        text = f"{name} did not say what it measured: {output[-500:]}"
        raise environments.FailedError(text) from error
    return figures.Run(
        workload, name, told.count, told.seconds, cpu_s=told.cpu_s, rss_bytes=told.rss_bytes
    )
