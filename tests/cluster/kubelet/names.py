"""What a pod can call others by: services, and pods that have names of their own behind one.

A cluster has a name server for that, and addresses of services; here each pod has a file of hosts, which is
kept up to date: a service's names stand for the addresses of the pods behind it, all of its ports for theirs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.cluster.kubelet.statuses import Object


@dataclass(frozen=True, kw_only=True)
class Behind:
    """A pod, as services look at it."""

    pod: Object
    ready: bool
    """And not about to end."""

    @property
    def address(self) -> str:
        """Where it is reached."""
        return str(self.pod["status"]["podIP"])


def hosts(pod: Object, services: Iterable[Object], pods: Iterable[Behind]) -> str:
    """Return the file of hosts of a pod."""
    own, all_pods = pod["status"]["podIP"], list(pods)
    lines = ["127.0.0.1 localhost", f"{own} {pod['metadata']['name']}"]
    for service in services:
        names = list(_spelled(service["metadata"]["name"], service, pod))
        lines += [
            " ".join([each.address, *names, *_own_names(each, service, pod)])
            for each in _behind(service, all_pods)
        ]
    return "\n".join(lines) + "\n"


def _behind(service: Object, pods: Iterable[Behind]) -> Iterator[Behind]:
    spec, namespace = service["spec"], service["metadata"]["namespace"]
    selector = (spec.get("selector") or {}).items()
    for each in pods:
        meta = each.pod["metadata"]
        if not selector or meta["namespace"] != namespace:
            continue
        wanted = each.ready or spec.get("publishNotReadyAddresses")
        if wanted and selector <= meta.get("labels", {}).items():
            yield each


def _own_names(each: Behind, service: Object, pod: Object) -> Iterator[str]:
    """Yield the names of a pod that is a member of a set, as of a StatefulSet."""
    spec, name = each.pod["spec"], service["metadata"]["name"]
    if spec.get("hostname") and spec.get("subdomain") == name:
        yield from _spelled(f"{spec['hostname']}.{name}", service, pod)


def _spelled(name: str, service: Object, pod: Object) -> Iterator[str]:
    """Yield all ways to spell a name: the shortest is for the service's own namespace."""
    namespace = service["metadata"]["namespace"]
    if pod["metadata"]["namespace"] == namespace:
        yield name
    for rest in ("", ".svc", ".svc.cluster.local"):
        yield f"{name}.{namespace}{rest}"
