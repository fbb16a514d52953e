"""What all worker pods of an installation have in common."""

import msgspec


class PodSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    namespace: str = "default"
    """Of worker pods, of what owns them, and of the secrets that specs name."""
    agent_image: str
    """The worker agent's; the static shim is in it, too."""
    worker_nats_url: str
    """Where agents find NATS; who they are says the pipeline's Secret."""
    store: str
    """URL of the object store."""
    store_secret: str = ""
    """A Secret whose keys are the variables by which the store lets agents in, such as AWS_ACCESS_KEY_ID."""
    store_volume: str = ""
    """JSON, the source of a volume (`{"nfs": ...}`, `{"persistentVolumeClaim": ...}`) that holds a `file://`
    store; agents see it at the path of that URL."""
    default_image: str = ""
    """Where a spec names no image; empty: such a spec's pods are refused."""
    allow_root: bool = False
    """Whether images may run as root. If not, a spec whose image would says `transform.user`."""
    grace_s: int = 60
    """Seconds that a pod has to end in. A datum that runs may take ten less; then it is given back."""
    cpu_request: float = 0.1
    """Cores of a user container whose spec asks for none."""
    memory_request_bytes: int = 64 * 1024 * 1024
    """Memory of a user container whose spec asks for none."""
    agent_cpu_request: float = 0.1
    """Cores of an agent's container."""
    agent_memory_request_bytes: int = 96 * 1024 * 1024
    """Memory of an agent's container."""
    agent_memory_limit_bytes: int = 512 * 1024 * 1024
    """An agent holds the data of some files at a time, whatever their sizes."""
    spread_over: str = "kubernetes.io/hostname"
    """The nodes' label over whose values a pipeline's workers are spread as far as that goes; empty: not."""
    default_priority_class: str = ""
    """Where a spec names none."""
    image_pull_secrets: str = ""
    """Names, with commas between, beside those that a spec names."""
    agent_probe_port: int = 8087
    """0: none. User code may reach it, and learns there whether the worker is ready, and what the agent shows as
    metrics, which is about its own process; no more."""
    worker_environ: str = ""
    """JSON, an object of further variables for agents, such as `{"TRUNKLINE_PREFETCH": "64"}`."""
