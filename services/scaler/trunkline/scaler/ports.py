"""What the scaler sees of the cluster that runs its workers: a pool of processes, or Kubernetes."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from trunkline.contracts import errors, spec
from trunkline.contracts.states import Cause


class Taint(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps workers from a node unless they tolerate it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node of the cluster."""

    name: str
    eligible: bool = True
    """Whether it counts for a coefficient, as far as that is the same for all pipelines."""
    why_not: str = ""
    """Such as `cordoned` or `not ready`."""
    cordoned: bool = False
    """Whether the workers on it are to drain."""
    labels: tuple[tuple[str, str], ...] = ()
    """Sorted; what selectors and affinity go by."""
    taints: tuple[Taint, ...] = ()


class Toleration(msgspec.Struct, frozen=True, kw_only=True):
    """Which taints a pipeline's workers do not mind; an empty field is any."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's label must be."""

    key: str
    operator: str
    """In, NotIn, Exists, DoesNotExist, Gt, Lt."""
    values: tuple[str, ...] = ()


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Which nodes a pipeline's workers may run on."""

    selector: tuple[tuple[str, str], ...] = ()
    """Labels that a node must have."""
    affinity: tuple[tuple[Requirement, ...], ...] | None = None
    """Terms of which one must hold as a whole; None: any node."""
    tolerations: tuple[Toleration, ...] = ()


ANYWHERE = Placement()


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as the cluster lists it: what has ended is not listed."""

    name: str
    pipeline: str
    code_hash: str
    node: str = ""
    instance: str = ""
    """Differs between two workers that had the same name one after the other."""
    created_ns: int = 0
    """Wall clock of the cluster."""
    running: bool = True
    """False while its process is not there yet (image pull, scheduling)."""
    stopping: bool = False
    """Whether it was told to end."""
    lost: str = ""
    """Why nothing of it runs any more, though it still has its name: to be deleted at once."""
    lost_by: Cause = Cause.WORKER_LOST
    """What an attempt is put down to that this cuts short."""
    must_go: str = ""
    """Why it is to be replaced."""
    made_by: str = ""
    """Differs between workers that are made differently; empty where all are alike. See `Cluster.makes`."""
    problem: str = ""
    """Why it does not come up, or not again."""
    oom_ns: int = 0
    """When its user's container was last killed for want of memory, if that was its last end; wall clock of
    its node, whole seconds."""


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """All that is there, at one moment."""

    nodes: tuple[Node, ...]
    workers: tuple[Worker, ...]


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that is to be."""

    name: str
    pipeline: str
    ward: str
    """The pipeline's; its agent is told it as it is told its credentials."""
    code_hash: str
    spec: spec.PipelineSpec
    """Of the pipeline version that the worker is for."""


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster's word that a worker has ended, and how."""

    worker: Worker
    reason: str
    """Such as `killed by SIGKILL` or `exit code 1`."""
    clean: bool = False
    """Whether it ended with exit code 0."""
    lived_s: float = 0.0
    cause: Cause = Cause.WORKER_LOST
    """What an attempt is put down to that this cuts short."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Something else is different: look again."""


ClusterEvent = Gone | Changed


class ClusterUnavailableError(errors.TrunklineError):
    """The cluster did not answer; whether the request took effect is unknown."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} is not available: {reason}")
        self.what, self.reason = what, reason


class WorkerRefusedError(errors.TrunklineError):
    """The cluster does not start a worker, and says why: back off, and tell."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"worker {name!r} was refused: {reason}")
        self.name, self.reason = name, reason


class Cluster(Protocol):
    """Where workers run. All of it is safe to repeat."""

    async def look(self) -> ClusterView:
        """Return what is there; raise ClusterUnavailableError."""
        ...

    def placement(self, pipeline: spec.PipelineSpec) -> Placement:
        """Return where a pipeline's workers may run; no I/O."""
        ...

    def makes(self, pipeline: spec.PipelineSpec) -> str:
        """Return `Worker.made_by` of a worker that would be made now; empty where all are alike; no I/O."""
        ...

    async def create(self, worker: WorkerSpec) -> None:
        """Start a worker.

        Raises:
            AlreadyExistsError: one of that name is not gone yet.
            WorkerRefusedError: it cannot be started; trying at once again would not help.
            ClusterUnavailableError: unknown whether it was started.
        """
        ...

    async def delete(self, name: str) -> None:
        """Tell a worker to end, and end it after its grace; none of that name is no error."""
        ...

    def watch(self) -> AsyncIterator[ClusterEvent]:
        """Tell what happens from now on, for ever; what was missed is told as `Changed`."""
        ...


RENEWED_AT = 2 / 3
"""The part of its life after which a credential is made anew: a third is left to bring it to workers,
while a server, a cluster or an issuer is away."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a credential beside its text."""

    issued_at: float
    """Wall clock, seconds."""
    expires_at: float | None = None
    """Wall clock, seconds; None: never."""
    issuer: str = ""
    """Whose word it is: what another has issued is made anew."""

    @property
    def due_at(self) -> float | None:
        """When it is to be made anew; None: never."""
        if self.expires_at is None:
            return None
        return self.issued_at + RENEWED_AT * (self.expires_at - self.issued_at)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """By what the workers of one pipeline log in to NATS."""

    text: str
    """A URL with a password, or the text of a file that `?creds=` of a URL names. A secret."""
    held: Held


class CredentialIssuer(Protocol):
    """Who makes workers' credentials: a server's configuration, or a key that servers trust."""

    @property
    def name(self) -> str:
        """What tells its credentials from those of another."""
        ...

    async def issue(self, pipeline: str) -> Credentials:
        """Make a pipeline's credentials, or make them anew.

        Raises:
            UnavailableError: a server that is to know of them is not there; ask again.
            InvalidNameError: the pipeline's name could not stand in them.
        """
        ...

    async def revoke(self, pipeline: str, issued_at: float) -> None:
        """End all that was issued for a pipeline until now, and the connections made with it.

        Args:
            pipeline: Whose.
            issued_at: What is held says of itself; it may have been issued by a clock that is ahead of ours.

        Raises:
            UnavailableError: a server that is to know of it is not there; ask again.
            RequestRefusedError: the server does not take it.
        """
        ...
