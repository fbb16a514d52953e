"""Startup, readiness and liveness of a container, as its probes find them.

While the startup probe has not succeeded nothing else is asked. A container with a readiness probe is ready from its
first success on. How often it is asked goes by the kubelet's pace, since tests wait for the answer; how long answers
may stay away does not, since a process starts no faster here than elsewhere: a probe has failed when it has not
succeeded for `failureThreshold` of its periods. A container that failed its startup or liveness probe gets SIGTERM,
and SIGKILL after its grace period; its end is an end like any other.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from tests.cluster.kubelet.configuration import ConfigurationError
from tests.cluster.kubelet.statuses import Object

_LEAST_S = 0.1


class UnknownProbeError(ConfigurationError):
    """A probe asks in a way that is neither of those here."""

    def __init__(self, probe: Object) -> None:
        super().__init__(f"a probe is neither httpGet nor exec: {probe}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is asked."""

    container: Object
    address: str
    """The pod's."""
    execute: Callable[[list[str]], Awaitable[int]]
    """Runs a command in the container; returns its exit code."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What probes have found of a container that runs."""

    started: bool
    ready: bool


def before(container: Object) -> Found:
    """Return what is found of a container before anything was asked."""
    started = "startupProbe" not in container
    return Found(started=started, ready=started and "readinessProbe" not in container)


async def run(target: Target, pace: float, found: Callable[[Found], None]) -> None:
    """Ask until cancelled, and say what is found; returns once the container is to be stopped."""
    spec = target.container
    if "startupProbe" in spec:
        async for succeeded in _answers(spec["startupProbe"], target, pace):
            if not succeeded:
                return
            break
        found(Found(started=True, ready="readinessProbe" not in spec))
    async with asyncio.TaskGroup() as tasks:
        readiness = tasks.create_task(_follow(target, pace, found), name="readiness")
        await _until_dead(target, pace)
        readiness.cancel()


async def _follow(target: Target, pace: float, found: Callable[[Found], None]) -> None:
    ready = False
    if probe := target.container.get("readinessProbe"):
        async for succeeded in _answers(probe, target, pace):
            if succeeded is not ready:
                ready = succeeded
                found(Found(started=True, ready=ready))


async def _until_dead(target: Target, pace: float) -> None:
    if probe := target.container.get("livenessProbe"):
        async for succeeded in _answers(probe, target, pace):
            if not succeeded:
                return
    await asyncio.Event().wait()


async def _answers(probe: Object, target: Target, pace: float) -> AsyncIterator[bool]:
    """Yield True at each success, and False whenever there was none for too long."""
    now, period_s = asyncio.get_running_loop().time, float(probe.get("periodSeconds", 10))
    await asyncio.sleep(probe.get("initialDelaySeconds", 0) * pace)
    good = now()
    while True:
        if await _succeeds(probe, target):
            good = now()
            yield True
        elif now() - good >= period_s * probe.get("failureThreshold", 3):
            yield False
        await asyncio.sleep(max(_LEAST_S, period_s * pace))


async def _succeeds(probe: Object, target: Target) -> bool:
    try:
        async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
            if "httpGet" in probe:
                return await _get(probe["httpGet"], target)
            if "exec" in probe:
                return await target.execute(probe["exec"]["command"]) == 0
    except (OSError, TimeoutError):
        return False
    raise UnknownProbeError(probe)


async def _get(request: Object, target: Target) -> bool:
    port = _port(request["port"], target.container)
    reader, writer = await asyncio.open_connection(request.get("host", target.address), port)
    try:
        path = request.get("path", "/")
        head = f"GET {path} HTTP/1.1\r\nHost: {target.address}:{port}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        words = (await reader.readline()).split()
    finally:
        writer.close()
    return len(words) > 1 and 200 <= int(words[1]) < 400


def _port(port: int | str, container: Object) -> int:
    if isinstance(port, int):
        return port
    return int(next(each["containerPort"] for each in container["ports"] if each["name"] == port))
