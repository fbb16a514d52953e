"""What a worker's containers request and may use, in the words of Kubernetes: cores in `m`, memory in bytes.

What a spec leaves open the installation's settings say, for requests only: a limit is the spec's alone. A GPU is
requested and limited by the same number, as an extended resource must be.
"""

from typing import Any

from trunkline.contracts.spec import PipelineSpec, Resources
from trunkline.scaler.kubernetes.pod_settings import PodSettings

Manifest = dict[str, Any]


def of(spec: PipelineSpec, settings: PodSettings) -> Manifest:
    """Return what the spec's container requests and may use."""
    requests, limits = spec.resource_requests or Resources(), spec.resource_limits or Resources()
    wanted = _quantities(requests)
    most = _quantities(limits)
    # a server fills in what is requested from the limits; a default of ours must not be above them
    if "cpu" not in wanted and "cpu" not in most:
        wanted["cpu"] = _cores(settings.cpu_request)
    if "memory" not in wanted and "memory" not in most:
        wanted["memory"] = str(settings.memory_request_bytes)
    gpu = limits.gpu or requests.gpu
    if gpu is not None:  # of these, both must be the same
        wanted[gpu.type] = most[gpu.type] = str(gpu.number)
    return {kind: amounts for kind, amounts in (("requests", wanted), ("limits", most)) if amounts}


def _quantities(resources: Resources) -> dict[str, str]:
    found: dict[str, str] = {}
    if resources.cpu is not None:
        found["cpu"] = _cores(resources.cpu)
    if resources.memory_bytes is not None:
        found["memory"] = str(resources.memory_bytes)
    if resources.disk_bytes is not None:
        found["ephemeral-storage"] = str(resources.disk_bytes)
    return found


def sizes(cores: float, memory_bytes: int) -> Manifest:
    """Return the requests of a container of ours."""
    return {"requests": {"cpu": _cores(cores), "memory": str(memory_bytes)}}


def _cores(cores: float) -> str:
    return f"{max(1, round(cores * 1000))}m"
