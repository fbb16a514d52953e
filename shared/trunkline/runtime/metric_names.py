"""Every metric that a service may show: its name, unit, labels, who has it, and what it means.

This is the one place for them: services count by these constants, docs/metrics.md is made from them, and
dashboards and alerts may name nothing else (but for `process_*`, which the Prometheus client adds).

Names are Prometheus's: `trunkline_`, base units (seconds, bytes), `_total` for what only rises. What has more
values the longer an installation lives (jobs, datums, workers) is never a label. `pipeline` is one, and bounded: see
`metrics.Pipelines`. `component` says whose process it is; a label that a scrape configuration may set itself,
such as `service` or `job`, is avoided, since Prometheus would rename ours.

Who has a metric, and when:

    process   each process, leading or not, about itself
    leader    who leads its service, about the whole installation; of those that stand by it is missing
"""

from collections.abc import Mapping

import msgspec

from trunkline.runtime.metrics import COORDINATOR, SCALER, WORKER, Kind, Metric, Whose

ROUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a millisecond to half a minute: what a service does in one go."""
_HOURS = (60.0, 150.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0)
PHASES = (*ROUNDS, *_HOURS)
"""From a millisecond to half a day: what a datum may take."""
JOBS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, *_HOURS, 86400.0, 259200.0)
"""From a tenth of a second to three days."""

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM


def _each(kind: Kind, name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name=name, kind=kind, unit=unit, help=text, labels=("component", *labels))


def _of(
    component: str,
    kind: Kind,
    name: str,
    unit: str,
    text: str,
    *labels: str,
    buckets: tuple[float, ...] = (),
) -> Metric:
    return Metric(
        name=name,
        kind=kind,
        unit=unit,
        help=text,
        labels=labels,
        components=(component,),
        whose=Whose.LEADER,
        buckets=buckets,
    )


# --- datums: counted by the leading coordinator with their outcomes ------------------------------

DATUMS = _of(
    *(COORDINATOR, _C, "trunkline_datums_total", "datums"),
    "Datums that ended, by how: processed, skipped, recovered, failed, quarantined.",
    *("pipeline", "state"),
)
ATTEMPTS = _of(
    *(COORDINATOR, _C, "trunkline_attempts_total", "attempts"),
    "Attempts at datums that have ended, by cause (`done` is a good one); counted with the datum's outcome.",
    *("pipeline", "cause"),
)
REDELIVERIES = _of(
    *(COORDINATOR, _C, "trunkline_redeliveries_total", "deliveries"),
    "Deliveries of datums after the first one, as the server has counted them, for whatever reason: a worker is lost, an "
    "attempt failed, a lease ended, or a worker that had received a datum has not begun it and gave it back; counted "
    "with the datum's outcome.",
    "pipeline",
)
PHASE_SECONDS = _of(
    *(COORDINATOR, _H, "trunkline_datum_phase_seconds", "seconds"),
    "What a datum's last attempt took, by phase: wait (received, not begun), download, process, upload.",
    *("pipeline", "phase"),
    buckets=PHASES,
)
TRANSFERRED = _of(
    *(COORDINATOR, _C, "trunkline_transferred_bytes_total", "bytes"),
    "Bytes of input and output files that datums have moved, by direction: down, up.",
    *("pipeline", "direction"),
)
CPU_SECONDS = _of(
    *(COORDINATOR, _C, "trunkline_datum_cpu_seconds_total", "seconds"),
    "CPU time of user commands.",
    "pipeline",
)
OUTCOMES_IGNORED = _of(
    *(COORDINATOR, _C, "trunkline_outcomes_ignored_total", "outcomes"),
    "Outcomes that were stored and count for nothing: of no datum that the job has published, of one that was "
    "skipped, or of a generation that is still to come.",
    "pipeline",
)
LOG_LINES_DROPPED = _of(
    *(COORDINATOR, _C, "trunkline_log_lines_dropped_total", "lines"),
    "Lines that user commands have printed and that are in no log, being over the limit or not stored in time; "
    "counted with the datum's outcome.",
    "pipeline",
)
QUARANTINED = _of(
    *(COORDINATOR, _G, "trunkline_quarantined_datums", "datums"),
    "Datums in quarantine in the jobs that run and in each pipeline's newest job that has ended.",
    "pipeline",
)
REMAINING = _of(
    *(COORDINATOR, _G, "trunkline_remaining_datums", "datums"),
    "Datums that are listed and have no outcome yet, of all jobs that run.",
    "pipeline",
)
OLDEST_PENDING = _of(
    *(COORDINATOR, _G, "trunkline_oldest_pending_seconds", "seconds"),
    "Age of the oldest datum that no worker has received, as of the last look at the pipeline's queue; 0 where none waits.",
    "pipeline",
)
QUEUES_UNSEEN = _of(
    *(COORDINATOR, _G, "trunkline_queues_unseen", "pipelines"),
    "Pipelines with jobs at work whose queue was not looked at yet: their trunkline_oldest_pending_seconds is missing.",
)

# --- jobs and pipelines: what the leading coordinator reads in the buckets --------------------------

JOBS_LIVE = _of(
    *(COORDINATOR, _G, "trunkline_jobs", "jobs"),
    "Jobs that have not ended, by state, such as WAITING or RUNNING.",
    *("pipeline", "state"),
)
JOBS_ENDED = _of(
    *(COORDINATOR, _C, "trunkline_jobs_ended_total", "jobs"),
    "Jobs that have ended, by state: SUCCESS, FAILURE, KILLED, UNRUNNABLE.",
    *("pipeline", "state"),
)
JOB_SECONDS = _of(
    *(COORDINATOR, _H, "trunkline_job_duration_seconds", "seconds"),
    "From the start of a job (its inputs were there) to its end.",
    *("pipeline", "state"),
    buckets=JOBS,
)
JOB_QUIET = _of(
    *(COORDINATOR, _G, "trunkline_job_quiet_seconds", "seconds"),
    "For how long nothing has moved in a job that runs: no outcome, no window, no change of state; the longest.",
    "pipeline",
)
SKIP_RATIO = _of(
    *(COORDINATOR, _G, "trunkline_job_skip_ratio", "ratio"),
    "Part of the newest ended job's datums that an earlier job had done.",
    "pipeline",
)
REPAIRS = _of(
    *(COORDINATOR, _C, "trunkline_repairs_total", "rounds"),
    "Rounds in which datums without outcome were put back into an empty queue.",
    "pipeline",
)
PIPELINES = _of(
    *(COORDINATOR, _G, "trunkline_pipelines", "pipelines"),
    "Pipelines by state: RUNNING, STOPPED, DELETING, REFUSED.",
    "state",
)

# --- workers: what the leading scaler sees and decides ----------------------------------------------

PENDING = _of(
    *(SCALER, _G, "trunkline_pending_datums", "messages"),
    "Datums (messages of the queue) that wait, as the scaler has read them last.",
    "pipeline",
)
IN_FLIGHT = _of(
    *(SCALER, _G, "trunkline_in_flight_datums", "messages"),
    "Datums (messages of the queue) that a worker has received and not settled.",
    "pipeline",
)
CAP = _of(
    *(SCALER, _G, "trunkline_workers_cap", "workers"),
    "The most workers that the spec means on the nodes that are there.",
    "pipeline",
)
WANT = _of(
    *(SCALER, _G, "trunkline_workers_want", "workers"), "Workers that are wanted.", "pipeline"
)
HAVE = _of(
    *(SCALER, _G, "trunkline_workers_have", "workers"),
    "Workers that are there, whatever they do: starting and draining ones, too.",
    "pipeline",
)
READY = _of(
    *(SCALER, _G, "trunkline_workers_ready", "workers"),
    "Workers that take datums: idle and busy ones.",
    "pipeline",
)
BUSY = _of(
    *(SCALER, _G, "trunkline_workers_busy", "workers"), "Workers that hold a datum.", "pipeline"
)
IDLE = _of(
    *(SCALER, _G, "trunkline_workers_idle", "workers"),
    "Workers that take datums and hold none.",
    "pipeline",
)
DRAINING = _of(
    *(SCALER, _G, "trunkline_workers_draining", "workers"),
    "Workers that finish what they have begun and take no more.",
    "pipeline",
)
STARTS_FAIL = _of(
    *(SCALER, _G, "trunkline_workers_cannot_start", "pipelines"),
    "1 while a pipeline's workers cannot be started; `trunkline explain` says why.",
    "pipeline",
)
ELIGIBLE_NODES = _of(
    *(SCALER, _G, "trunkline_eligible_nodes", "nodes"),
    "Nodes that count for a pipeline's workers.",
    "pipeline",
)
NODES = _of(
    *(SCALER, _G, "trunkline_nodes", "nodes"), "Nodes of the cluster, whether they count or not."
)
SCALE_DECISIONS = _of(
    *(SCALER, _C, "trunkline_scale_decisions_total", "decisions"),
    "Changes of how many workers are wanted, by direction (up, down) and reason: cap, work, to-come, cool-down, "
    "idle, stopped.",
    *("pipeline", "direction", "reason"),
)
WORKERS_CREATED = _of(
    *(SCALER, _C, "trunkline_workers_created_total", "workers"),
    "Workers that were begun to be made.",
    "pipeline",
)
WORKERS_LOST = _of(
    *(SCALER, _C, "trunkline_workers_lost_total", "workers"),
    "Workers that went without good-bye, and whose datums were given back for them.",
    "pipeline",
)
GIVEN_BACK = _of(
    *(SCALER, _C, "trunkline_given_back_total", "messages"),
    "Datums (messages of the queue) that were given back for workers that are gone.",
    "pipeline",
)
REDISTRIBUTION = _of(
    *(SCALER, _H, "trunkline_redistribution_seconds", "seconds"),
    "From when the scaler hears that a worker is gone (a silent one: from its last word) until what it held is given back.",
    buckets=ROUNDS,
)
KUBERNETES_REQUESTS = Metric(
    name="trunkline_kubernetes_requests_total",
    kind=_C,
    unit="requests",
    help="Requests to the Kubernetes API by verb and status code; code 0: no answer. Only on Kubernetes.",
    labels=("verb", "code"),
    components=(SCALER,),
)

# --- every process about itself -----------------------------------------------------------------------

LEADER = Metric(
    name="trunkline_leader",
    kind=_G,
    unit="",
    help="1 in the process that leads its service, 0 in one that stands by.",
    labels=("component",),
    components=(COORDINATOR, SCALER),
)
LEADER_TERM = Metric(
    name="trunkline_leader_term",
    kind=_G,
    unit="terms",
    help="How many have led this service up to the one that leads; only who leads has it.",
    labels=("component",),
    components=(COORDINATOR, SCALER),
)
RECONCILE_SECONDS = Metric(
    name="trunkline_reconcile_seconds",
    kind=_H,
    unit="seconds",
    help="What a round of the leading process took.",
    labels=("component",),
    components=(COORDINATOR, SCALER),
    buckets=ROUNDS,
)
RECONCILE_FAILURES = Metric(
    name="trunkline_reconcile_failures_total",
    kind=_C,
    unit="rounds",
    help="Rounds of the leading process that had to be repeated.",
    labels=("component",),
    components=(COORDINATOR, SCALER),
)
BUILD = _each(_G, "trunkline_build_info", "", "1; the version is a label.", "version")
PROCESS_READY = _each(_G, "trunkline_ready", "", "1 where /readyz says so.")
LOOP_LAG = msgspec.structs.replace(
    _each(
        _H,
        "trunkline_event_loop_lag_seconds",
        "seconds",
        "By how much the event loop was late for a timer, once a second.",
    ),
    buckets=ROUNDS,
)
NATS_CONNECTED = _each(
    _G,
    "trunkline_nats_connected",
    "",
    "1 where all of the process's connections to NATS are there, as far as it knows: a server that is frozen or cut off "
    "is missed after two pings without an answer, within 15 s.",
)
NATS_RECONNECTS = _each(
    _C,
    "trunkline_nats_reconnects_total",
    "reconnects",
    "Connections to NATS that were made anew; a process has up to three, and an outage may cost it all of them.",
)
STORE_ERRORS = Metric(
    name="trunkline_store_errors_total",
    kind=_C,
    unit="errors",
    help="Operations that failed for want of the object store; a local worker's show as attempts with cause store-error.",
    labels=("component",),
    components=(COORDINATOR, WORKER),
)
WORKER_LOG_LINES_DROPPED = _of(
    *(WORKER, _C, "trunkline_worker_log_lines_dropped_total", "lines"),
    "The same as trunkline_log_lines_dropped_total by the worker itself, at once: of attempts without an outcome and lines of ours, too.",
)
LOG_RECORDS_DROPPED = _each(
    _C,
    "trunkline_log_records_dropped_total",
    "records",
    "Records of the service's own log that were left out, since there were too many of a kind.",
)

# --- JetStream, under the names of prometheus-nats-exporter with `-prefix=nats` -----------------------

_STREAM = ("account", "stream_name")
_CONSUMER = ("account", "stream_name", "consumer_name")


def _stream(kind: Kind, name: str, unit: str, text: str) -> Metric:
    return _of(COORDINATOR, kind, f"nats_stream_{name}", unit, text, *_STREAM)


def _consumer(name: str, unit: str, text: str) -> Metric:
    return _of(COORDINATOR, _G, f"nats_consumer_{name}", unit, text, *_CONSUMER)


STREAM_MESSAGES = _stream(_G, "total_messages", "messages", "Messages in a stream.")
STREAM_BYTES = _stream(_G, "total_bytes", "bytes", "Bytes of a stream.")
STREAM_FIRST = _stream(_G, "first_seq", "sequence", "Sequence of a stream's first message.")
STREAM_LAST = _stream(_G, "last_seq", "sequence", "Sequence of a stream's last message.")
STREAM_CONSUMERS = _stream(_G, "consumer_count", "consumers", "Consumers of a stream.")
STREAM_SUBJECTS = _stream(_G, "subject_count", "subjects", "Subjects with messages in a stream.")
CONSUMER_PENDING = _consumer(
    "num_pending", "messages", "Messages that were not delivered yet; of all jobs of a pipeline."
)
CONSUMER_ACK_PENDING = _consumer(
    "num_ack_pending", "messages", "Messages that were delivered and not settled."
)
CONSUMER_REDELIVERED = _consumer(
    "num_redelivered",
    "messages",
    "Messages that were delivered more than once and are not settled.",
)
CONSUMER_WAITING = _consumer("num_waiting", "requests", "Pull requests that wait for messages.")
CONSUMER_DELIVERED = _consumer(
    "delivered_consumer_seq", "deliveries", "Deliveries that were made, by jobs that run."
)
CONSUMER_DELIVERED_STREAM = _consumer(
    "delivered_stream_seq", "sequence", "The newest message of the stream that was delivered."
)
CONSUMER_ACK_FLOOR = _consumer(
    "ack_floor_consumer_seq", "deliveries", "Deliveries that are settled without a gap before them."
)
CONSUMER_ACK_FLOOR_STREAM = _consumer(
    "ack_floor_stream_seq",
    "sequence",
    "The message up to which all are settled; the newest of all jobs.",
)

ALL: tuple[Metric, ...] = tuple(each for each in globals().values() if isinstance(each, Metric))
BY_NAME: Mapping[str, Metric] = {each.name: each for each in ALL}
