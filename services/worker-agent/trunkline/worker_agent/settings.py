"""What a worker is told by its environment."""

import msgspec

from trunkline.contracts.messages import ACK_WAIT_S, HEARTBEAT_S


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    data_url: str
    """NATS, account DATA, with the credentials of this pipeline's workers."""
    store: str
    """URL of the object store."""
    pipeline: str
    """Whose datums it works on."""
    ward: str
    """The pipeline's, without which none of its subjects can be named."""
    worker: str
    """This worker's name; whoever starts it chose it."""
    instance: str = ""
    """What the cluster calls this pod or process; its claims say so."""
    code_hash: str
    """It works on jobs of this code only."""
    home_dir: str
    """A directory of this worker's own; what is in it is lost when it starts."""
    prefetch: int = 256
    """The most datums held beside the one that runs, where datums are short."""
    ahead_s: float = 0.05
    """Seconds of work that are held beside it: many round trips to the server, and little to lose."""
    give_back_s: float = 2.0
    """Seconds after which a datum that was not begun goes back to the others."""
    ack_wait_s: float = ACK_WAIT_S
    """Seconds after which a lease ends that was not renewed, as the coordinator has set it."""
    heartbeat_s: float = HEARTBEAT_S
    """Seconds between claims and between lease renewals, when nothing happens."""
    drain_limit_s: float = 25.0
    """Seconds that a running datum may still take after SIGTERM; then it is given back."""
    log_limit_bytes: int = 1024 * 1024
    """Of what one run of a command prints, this much is kept."""
    log_flush_s: float = 0.5
    """Seconds that printed lines may wait to be sent together."""
    warm_start_s: float = 300.0
    """Seconds in which a command that stays up must ask for its first datum: large models take minutes
    to load. A longer `datum_timeout` counts instead."""
    idle_s: float | None = None
    """Seconds that each datum takes instead of running a command, for measuring; unset: commands."""
    shim_socket: str = ""
    """Where to wait for the shim of the user's container; empty where it is forked here."""
    secrets_dir: str = ""
    """Where the secrets of a machine lie: a directory each, with a file per key. Empty where the pod hands
    them over."""
    worker_ip: str = "127.0.0.1"
    """The address at which its pod is reached; told to commands."""
    probe_port: int | None = None
    """Where `/livez`, `/readyz` and `/metrics` are answered; unset: nowhere."""
    probe_host: str = "127.0.0.1"
    """The address of that: loopback, or in a pod the pod's own (`0.0.0.0`)."""
