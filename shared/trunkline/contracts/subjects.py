"""Every subject, stream, consumer, bucket and inbox prefix that Trunkline uses on NATS.

No other file spells `trunkline.` on the wire. The name of a pipeline is always a whole token, since
NATS wildcards (and so permissions) match whole tokens only. What lives in which account:

    USERS  (imports two services of CTL)
    CTL    TL_COMMANDS, TL_EVENTS; buckets pipelines, repos, commits, branches, jobs, done, nodes,
           scaling, leaders
    DATA   TL_DATUMS_<pipeline> each; TL_OUTCOMES, TL_ATTEMPTS, TL_CLAIMS, TL_ASSIGNMENTS, TL_LOGS,
           TL_WORKER_EVENTS
    SYS    the server's own events

Each subject of DATA begins with its pipeline and that pipeline's ward (see `wards`): who builds one
holds a `Ward`, which is checked.
"""

from functools import lru_cache

from trunkline.contracts import names
from trunkline.contracts.wards import Ward, Wards

ROOT = "trunkline"

# --- account CTL: streams -------------------------------------------------------------------------

COMMANDS_STREAM = "TL_COMMANDS"
"""Specs that were published; a work queue that the coordinator empties."""
EVENTS_STREAM = "TL_EVENTS"
"""Why anything happened: refused specs, job changes, scale decisions. Limited by age."""

APPLY = f"{ROOT}.pipelines.apply"
"""The durable way in: one pipeline spec or several, as JSON or YAML, from anybody in USERS."""
API = f"{ROOT}.api.>"
"""All requests; see `api`."""

COMMANDS_CONSUMER = "coordinator"
"""The durable consumer on COMMANDS_STREAM."""

# --- account CTL: key-value buckets ---------------------------------------------------------------

PIPELINES = "trunkline_pipelines"
"""`<pipeline>` -> records.Pipeline (all its versions' heads; history in `<pipeline>.<version>`)."""
REPOS = "trunkline_repos"
"""`<repo>` -> records.Repo."""
BRANCHES = "trunkline_branches"
"""`<repo>.<branch>` -> records.Branch; its head moves by compare-and-set only."""
COMMITS = "trunkline_commits"
"""`<repo>.<commit>` -> records.Commit; created once, never changed."""
JOBS = "trunkline_jobs"
"""`<pipeline>.<id>` -> records.Job."""
DONE = "trunkline_done"
"""`<pipeline>` -> records.DoneIndex: the runs that the done index consists of."""
NODES = "trunkline_nodes"
"""`local` -> records.Nodes: the logical nodes of an installation without Kubernetes."""
SCALING = "trunkline_scaling"
"""`<pipeline>` -> records.Scaling: what the scaler wants, has and why."""

LEADERS = "trunkline_leaders"
"""`<service>` -> records.Candidate: who leads the coordinators, the scalers; `<service>.<incarnation>`:
who stands by. See `election`."""

COORDINATOR, SCALER = "coordinator", "scaler"
"""The services that have leaders."""

BUCKETS = (PIPELINES, REPOS, BRANCHES, COMMITS, JOBS, DONE, NODES, SCALING, LEADERS)

# --- account DATA ---------------------------------------------------------------------------------

OUTCOMES_STREAM = "TL_OUTCOMES"
"""The truth about datums: one message per subject, the first wins, a second is refused for ever."""
ATTEMPTS_STREAM = "TL_ATTEMPTS"
"""The ledger of attempts that were not plain first ones: the last message per subject holds all."""
CLAIMS_STREAM = "TL_CLAIMS"
"""Who holds what: the last message per worker. A help, never the truth."""
ASSIGNMENTS_STREAM = "TL_ASSIGNMENTS"
"""Which jobs a pipeline's workers may pull from: the last message per pipeline."""
LOGS_STREAM = "TL_LOGS"
"""The user's stdout and stderr; limited by age and bytes."""
WORKER_EVENTS_STREAM = "TL_WORKER_EVENTS"
"""What workers say of attempts that ended badly; limited by age. Services tell theirs in CTL."""

SYS_DISCONNECTS = "$SYS.ACCOUNT.DATA.DISCONNECT"
"""The server's word, in SYS, that a client of DATA is gone."""
SYS_CONNECTS = "$SYS.ACCOUNT.DATA.CONNECT"
"""The server's word, in SYS, that a client of DATA came (back)."""
SYS_CLAIMS_UPDATE = "$SYS.REQ.CLAIMS.UPDATE"
"""Where a server in operator mode takes an account's claims, in SYS."""


def sys_claims_lookup(account: str) -> str:
    """Return where a server in operator mode is asked for an account's claims, in SYS."""
    return f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"


def disconnects(wards: Wards) -> str:
    """Return where DATA has the server's word that a client is gone; heard by the scaler only."""
    return f"{ROOT}.hidden.{wards.hidden}.disconnect"


def connects(wards: Wards) -> str:
    """Return where DATA has the server's word that a client came; heard by the scaler only."""
    return f"{ROOT}.hidden.{wards.hidden}.connect"


def data_api(wards: Wards) -> str:
    """Return the prefix of JetStream's API in DATA; `$JS.API` leads nowhere there.

    Pulls and direct gets are no part of it: streams and consumers listen on the usual subjects.
    """
    return f"{ROOT}.hidden.{wards.hidden}.api"


def api(verb: str) -> str:
    """Return the subject of one request, such as `api("pipeline.apply")`."""
    return f"{ROOT}.api.{verb}"


def event(pipeline: str, kind: str) -> str:
    """Return the subject on which one kind of CTL event about a pipeline is stored."""
    return f"{ROOT}.events.{names.pipeline(pipeline)}.{kind}"


EVENTS = f"{ROOT}.events.>"
"""The filter for all events of CTL."""


def events_of(pipeline: str) -> str:
    """Return the filter for all CTL events about a pipeline."""
    return f"{ROOT}.events.{names.pipeline(pipeline)}.>"


def worker_event(ward: Ward, kind: str) -> str:
    """Return the subject on which workers store one kind of event about a pipeline."""
    return f"{ROOT}.worker-events.{ward}.{kind}"


WORKER_EVENTS = f"{ROOT}.worker-events.>"
"""The filter for all events of DATA."""


def worker_events_of(ward: Ward) -> str:
    """Return the filter for all DATA events of a pipeline."""
    return f"{ROOT}.worker-events.{ward}.>"


def datums_stream(pipeline: str) -> str:
    """Return the name of the work-queue stream that holds a pipeline's waiting datums."""
    return f"TL_DATUMS_{names.pipeline(pipeline)}"


def datums(ward: Ward, job: str) -> str:
    """Return the subject on which one job's datums wait for a worker."""
    return f"{ROOT}.datums.{ward}.{names.commit(job)}"


def datums_of(ward: Ward) -> str:
    """Return the filter for all datums of a pipeline."""
    return f"{ROOT}.datums.{ward}.*"


def job_consumer(job: str) -> str:
    """Return the name of the durable pull consumer of a job on its pipeline's datum stream."""
    return names.commit(job)


def outcome(ward: Ward, job: str, index: int, generation: int) -> str:
    """Return the subject that holds the one outcome of a datum."""
    return f"{_outcomes(ward, job)}.{index}.{generation}"


def outcomes_anywhere(pipeline: str, job: str) -> str:
    """Return the filter for all outcomes of a job, for who does not know the pipeline's ward."""
    return f"{ROOT}.outcomes.{names.pipeline(pipeline)}.*.{names.commit(job)}.>"


def outcomes_of(ward: Ward, job: str) -> str:
    """Return the filter for all outcomes of a job."""
    return f"{_outcomes(ward, job)}.>"


@lru_cache(maxsize=1024)
def _outcomes(ward: Ward, job: str) -> str:
    """Return what all outcomes of a job begin with; asked for each datum, and seldom about another job."""
    return f"{ROOT}.outcomes.{ward}.{names.commit(job)}"


OUTCOMES = f"{ROOT}.outcomes.*.*.*.*.*"


def attempts(ward: Ward, job: str, index: int) -> str:
    """Return the subject whose last message is a datum's attempt ledger."""
    return f"{ROOT}.attempts.{ward}.{names.commit(job)}.{index:d}"


def attempts_of(ward: Ward, job: str) -> str:
    """Return the filter for all attempt ledgers of a job."""
    return f"{ROOT}.attempts.{ward}.{names.commit(job)}.*"


ATTEMPTS = f"{ROOT}.attempts.*.*.*.*"


def claims(ward: Ward, worker: str) -> str:
    """Return the subject whose last message says what a worker holds."""
    return f"{ROOT}.claims.{ward}.{names.worker(worker)}"


def claims_of(ward: Ward) -> str:
    """Return the filter for the claims of all workers of a pipeline."""
    return f"{ROOT}.claims.{ward}.*"


CLAIMS = f"{ROOT}.claims.*.*.*"


def assignments(ward: Ward) -> str:
    """Return the subject whose last message says which jobs a pipeline's workers may pull from."""
    return f"{ROOT}.assignments.{ward}"


ASSIGNMENTS = f"{ROOT}.assignments.*.*"


def control(ward: Ward, worker: str) -> str:
    """Return the subject on which one worker is told to drain."""
    return f"{ROOT}.control.{ward}.{names.worker(worker)}"


def control_of(ward: Ward) -> str:
    """Return the filter for what all workers of a pipeline are told."""
    return f"{ROOT}.control.{ward}.*"


CONTROL = f"{ROOT}.control.*.*.*"
LOGS = f"{ROOT}.logs.*.*.*.*.*.*"
LAST_WORDS = f"{ROOT}.logs.*.*.*.*.*.agent"
"""Where the scaler says that a worker was lost, after what its command has printed."""
DATUMS = f"{ROOT}.datums.*.*.*"


def logs(ward: Ward, job: str, index: int, worker: str, stream: str) -> str:
    """Return the subject of what a datum's command printed in a worker on stdout or stderr, or `agent`."""
    return f"{ROOT}.logs.{ward}.{names.commit(job)}.{index:d}.{names.worker(worker)}.{names.log_stream(stream)}"


def logs_of(
    ward: Ward, job: str = "", index: int | None = None, worker: str = "", stream: str = ""
) -> str:
    """Return the filter for the logs of a pipeline, or of what of it is named."""
    tokens = (
        names.commit(job) if job else "*",
        "*" if index is None else f"{index}",
        names.worker(worker) if worker else "*",
        names.log_stream(stream) if stream else "*",
    )
    return f"{ROOT}.logs.{ward}.{'.'.join(tokens)}"


def ack(pipeline: str, job: str, sequence: int, delivery: int = 1) -> str:
    """Return the subject that settles a delivery on its holder's behalf; the reaper's tool.

    Args:
        pipeline: Whose datum it is.
        job: Whose datum it is.
        sequence: The message's, in the pipeline's stream: it says which one is settled.
        delivery: A delivery count of the consumer that is over its ack floor, and not over the
            count of all its deliveries: the server ignores a nak with any other. The count of all
            (`backlog.deliveries`), asked for after the message was delivered, always is one; 1 is
            one only until the job's first datum is acked.

    The other numbers need to be plausible, and are fixed here so that permissions can name them.
    """
    stream = datums_stream(pipeline)
    return f"$JS.ACK.{stream}.{job_consumer(job)}.1.{sequence:d}.{delivery:d}.1.0"


def bucket_stream(bucket: str) -> str:
    """Return the name of the stream that holds a key-value bucket, as NATS' own KV names it."""
    return f"KV_{bucket}"


_STREAMS = {
    "pipelines": COMMANDS_STREAM,
    "events": EVENTS_STREAM,
    "outcomes": OUTCOMES_STREAM,
    "attempts": ATTEMPTS_STREAM,
    "claims": CLAIMS_STREAM,
    "assignments": ASSIGNMENTS_STREAM,
    "logs": LOGS_STREAM,
    "worker-events": WORKER_EVENTS_STREAM,
}


def stream_of(subject: str) -> str:
    """Return the name of the stream that stores what is published on a subject of ours.

    Raises:
        ValueError: no stream stores it.
    """
    root, kind, *rest = subject.split(".")
    if root == "$KV":
        return bucket_stream(kind)
    if root == ROOT and kind == "datums" and rest:
        return datums_stream(rest[0])
    if root == ROOT and kind in _STREAMS:
        return _STREAMS[kind]
    message = f"no stream stores {subject!r}"
    raise ValueError(message)


# --- inboxes: each role has its own prefix, and may subscribe to nothing of another's -------------


def user_inbox(user: str) -> str:
    """Return the inbox prefix of our own CLI; any other NATS client may use `_INBOX`."""
    return f"_INBOX.{names.user(user)}"


COORDINATOR_INBOX = "_I.coordinator"
SCALER_INBOX = "_I.scaler"
AUDITOR_INBOX = "_I.auditor"
"""Of who looks a job over, in CTL and in DATA."""
ISSUER_INBOX = "_I.issuer"
"""Of who revokes credentials, in SYS."""


def worker_inboxes(ward: Ward) -> str:
    """Return the filter for the inboxes of all workers of a pipeline."""
    return f"_I.worker.{ward}.>"


def worker_inbox(ward: Ward, worker: str) -> str:
    """Return the inbox prefix of one worker."""
    return f"_I.worker.{ward}.{names.worker(worker)}"
