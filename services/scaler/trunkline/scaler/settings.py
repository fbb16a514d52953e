"""What the scaler is told by its environment."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from `TRUNKLINE_<FIELD>`."""

    ctl_url: str
    """NATS, with the credentials of the user `scaler` of the account CTL."""
    data_url: str
    """NATS, with the credentials of the user `scaler-data` of the account DATA."""
    data_key: str
    """The secret that wards are made of; the same as the coordinator's."""
    name: str = ""
    """By which others know this process. No two that live may have the same: whoever is started under a name
    inherits at once what a former one of that name held. Empty: it has none that another start would have."""
    default_coefficient: float = 1.0
    """For specs that set neither `constant` nor `coefficient`."""
    max_workers: int = 1000
    """The most workers of one pipeline, whatever its spec says."""
    standby_cool_down_s: float = 10.0
    """Seconds for which a standby pipeline keeps workers that it needed."""
    gauge_s: float = 0.25
    """Seconds between looks at how much of a standby pipeline's jobs is left; four times that for
    the others, where it is only shown."""
    resync_s: float = 3.0
    """Seconds between rounds when nothing happens; bounds the cost of a lost event."""
    actions: int = 16
    """Workers that are created or deleted at once, over all pipelines."""
    drain_answer_s: float = 5.0
    """Seconds after which a worker that neither claims nor answers a drain counts as gone."""
    silent_s: float = 60.0
    """Seconds after which a worker that runs and was never heard of is replaced."""
    probe_port: int | None = None
    """Where `/livez`, `/readyz` and `/metrics` are answered; unset: nowhere."""
    probe_fd: int | None = None
    """An open socket that listens there already, from whoever starts the process; it counts before the port."""
    probe_host: str = "127.0.0.1"
    """The address of that: loopback, or in a pod the pod's own (`0.0.0.0`)."""
