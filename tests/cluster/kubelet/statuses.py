"""A pod's status as a kubelet writes it, from what is known of its containers.

A container waits (for its image, for its configuration, for its next start), runs, or has terminated. Its
last end before the present state is its `lastState`. The pod's phase is made of these and of the restart
policy: Pending until each has started once, then Running; Succeeded or Failed only once all have
terminated and none is to be started again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, assert_never

Object = dict[str, Any]
"""An object of the API, or a part of one."""


def stamp(now: datetime | None = None) -> str:
    """Return a time as the API writes it; now, if none is given."""
    return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """It is not running, for a reason that may go away."""

    reason: str = "ContainerCreating"
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Running:
    """It has a process."""

    started: str


@dataclass(frozen=True, kw_only=True)
class Terminated:
    """It has ended."""

    exit_code: int
    reason: str
    started: str
    finished: str
    container: str
    message: str = ""


State = Waiting | Running | Terminated


@dataclass(frozen=True, kw_only=True)
class Container:
    """What is known of one container."""

    name: str
    image: str
    state: State = Waiting()
    last: Terminated | None = None
    restarts: int = 0
    container: str = ""
    """The id of its present, or last, process."""
    started: bool = True
    ready: bool = True
    """What its probes have found, while it runs; True where it has none."""

    def waits(self, reason: str, message: str = "") -> "Container":
        """Return it as it waits; if it had terminated, that is its last state now."""
        last = self.state if isinstance(self.state, Terminated) else self.last
        return replace(self, state=Waiting(reason=reason, message=message), last=last)

    def backs_off(self, wait_s: float) -> "Container":
        """Return it as it waits for its next start."""
        if isinstance(self.state, Terminated) and self.state.reason == "StartError":
            return self.waits("RunContainerError", self.state.message)
        message = f"back-off {wait_s:.0f}s restarting failed container={self.name}"
        return self.waits("CrashLoopBackOff", message)

    def runs(
        self, container: str, *, again: bool, started: bool = True, ready: bool = True
    ) -> "Container":
        """Return it as it runs, for the first time or again."""
        last = self.state if isinstance(self.state, Terminated) else self.last
        state, restarts = Running(started=stamp()), self.restarts + again
        return replace(
            self,
            state=state,
            last=last,
            restarts=restarts,
            container=container,
            started=started,
            ready=ready,
        )

    @property
    def serves(self) -> bool:
        """Whether it runs, and is ready as far as its probes say."""
        return isinstance(self.state, Running) and self.ready

    def ended(self, exit_code: int, reason: str, message: str = "") -> "Container":
        """Return it as it has terminated just now."""
        started = self.state.started if isinstance(self.state, Running) else stamp()
        state = Terminated(
            exit_code=exit_code,
            reason=reason,
            started=started,
            finished=stamp(),
            container=self.container,
            message=message,
        )
        return replace(self, state=state)


def end_reason(exit_code: int, *, out_of_memory: bool) -> str:
    """Return the reason of an end, as container runtimes give it.

    Once anything in the container was killed for memory, its end is called so too, even if it ended
    of something else: containerd 1.6 does the same.
    """
    if out_of_memory:
        return "OOMKilled"
    return "Error" if exit_code else "Completed"


def phase(policy: str, inits: Sequence[Container], containers: Sequence[Container]) -> str:
    """Return the pod's phase."""
    if any(_failed(init.state) and policy == "Never" for init in inits):
        return "Failed"
    if not all(_succeeded(init.state) for init in inits):
        return "Pending"
    if any(isinstance(one.state, Waiting) and one.last is None for one in containers):
        return "Pending"
    states = [one.state for one in containers]
    if not all(isinstance(state, Terminated) for state in states) or policy == "Always":
        return "Running"
    if all(_succeeded(state) for state in states):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def final_phase(inits: Sequence[Container], containers: Sequence[Container]) -> str:
    """Return the phase of a pod that was told to go, once nothing of it runs any more."""
    states = [one.state for one in (*inits, *containers)]
    return "Succeeded" if all(_succeeded(state) for state in states) else "Failed"


def pod_status(
    *,
    phase: str,
    inits: Sequence[Container],
    containers: Sequence[Container],
    pod_ip: str,
    host_ip: str,
    began: str,
) -> Object:
    """Return the whole status."""
    initialised = all(_succeeded(init.state) for init in inits)
    ready = all(one.serves for one in containers)
    conditions = {"Initialized": initialised, "Ready": ready, "ContainersReady": ready}
    status: Object = {
        "phase": phase,
        "hostIP": host_ip,
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}],
        "startTime": began,
        "conditions": [
            {"type": kind, "status": "True" if holds else "False"} | _why_not(kind, holds, phase)
            for kind, holds in conditions.items()
        ],
        "containerStatuses": [_container_status(one) for one in containers],
    }
    if inits:
        status["initContainerStatuses"] = [_container_status(init) for init in inits]
    return status


def _why_not(kind: str, holds: bool, phase: str) -> Object:
    if holds:
        return {"reason": None, "message": None}
    if phase == "Succeeded":
        return {"reason": "PodCompleted"}
    not_initialised = kind == "Initialized"
    return {"reason": "ContainersNotInitialized" if not_initialised else "ContainersNotReady"}


def _container_status(one: Container) -> Object:
    return {
        "name": one.name,
        "image": one.image,
        "imageID": f"table://{one.image}" if one.container else "",
        "containerID": one.container,
        "ready": one.serves,
        "started": isinstance(one.state, Running) and one.started,
        "restartCount": one.restarts,
        "state": _state(one.state),
        "lastState": {} if one.last is None else _state(one.last),
    }


def _state(state: State) -> Object:
    match state:
        case Waiting():
            return {"waiting": {"reason": state.reason, "message": state.message}}
        case Running():
            return {"running": {"startedAt": state.started}}
        case Terminated():
            return {
                "terminated": {
                    "exitCode": state.exit_code,
                    "reason": state.reason,
                    "message": state.message,
                    "startedAt": state.started,
                    "finishedAt": state.finished,
                    "containerID": state.container,
                }
            }
        case _:
            assert_never(state)


def _succeeded(state: State) -> bool:
    return isinstance(state, Terminated) and state.exit_code == 0


def _failed(state: State) -> bool:
    return isinstance(state, Terminated) and state.exit_code != 0
