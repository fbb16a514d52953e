"""What the coordinator is told by its environment."""

import msgspec

from trunkline.bus.topology import LOGS_KEPT
from trunkline.contracts import messages
from trunkline.contracts.durability import Durability


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    ctl_url: str
    """NATS, with the credentials of the user `coordinator` of the account CTL."""
    data_url: str
    """NATS, with the credentials of the user `coordinator-data` of the account DATA."""
    data_key: str
    """The secret that wards are made of; the same as the scaler's, and as long as anything lives."""
    store: str
    """URL of the object store, such as `file:///var/lib/trunkline/store`."""
    name: str = ""
    """By which others know this process. No two that live may have the same: whoever is started under a name
    inherits at once what a former one of that name held. Empty: it has none that another start would have."""
    local: bool = True
    """Whether workers are plain processes: logical nodes can be set, images have no effect."""
    secrets_dir: str = ""
    """Where the secrets of an installation on one machine lie; empty where they are Kubernetes' own."""
    durability: Durability = Durability.FILE
    """What streams and buckets survive."""
    ack_wait_s: float = messages.ACK_WAIT_S
    """Seconds after which a datum whose lease was not renewed goes to another worker."""
    max_ack_pending: int = 50_000
    """Datums of one job that may be in flight at once, over all workers."""
    resync_s: float = 10.0
    """Seconds between rounds when nothing happens; bounds the cost of a lost event."""
    repair_quiet_s: float = 3.0
    """Seconds between the two looks that must both find a job's queue empty before a repair."""
    requests: int = 64
    """API requests that are worked on at once; more wait their turn."""
    request_timeout_s: float = 10.0
    """Seconds after which a request is answered with `unavailable`."""
    keep_jobs: int = 10_000
    """Settled jobs of each pipeline whose records are kept; what the newest inputs rest on stays anyway."""
    keep_commits: int = 0
    """Commits of each branch that are kept, the head counted; 0 keeps all."""
    keep_every_s: float = 3600.0
    """Seconds between looks for records that may go."""
    gc_grace_s: float = 2 * 24 * 3600.0
    """Age below which a collection removes nothing: a day more than anything may take from its first
    stored byte to the record, or the outcome, that names it. Less than 25 hours is taken as that."""
    log_keep_s: float = LOGS_KEPT.age_s
    """Age above which what commands have printed goes."""
    log_keep_bytes: int = LOGS_KEPT.bytes
    """Of what all commands have printed, this much is kept; the oldest goes."""
    default_coefficient: float = 1.0
    """The scaler's, for dry runs."""
    max_workers: int = 1000
    """The scaler's, for dry runs."""
    probe_port: int | None = None
    """Where `/livez`, `/readyz` and `/metrics` are answered; unset: nowhere."""
    probe_fd: int | None = None
    """An open socket that listens there already, from whoever starts the process; it counts before the port."""
    probe_host: str = "127.0.0.1"
    """The address of that: loopback, or in a pod the pod's own (`0.0.0.0`)."""
