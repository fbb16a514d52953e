"""Wire messages of the account DATA, and what the CLI asks of the coordinator.

Each message says who sends it, who takes it, and when it is settled. A field is only ever added,
with a default; a changed meaning is a new tag. Everything is JSON, so that `nats sub` shows it.
Messages hold references: bytes of files lie in the object store.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from trunkline.contracts import errors
from trunkline.contracts.attempts import Attempt
from trunkline.contracts.bounds import Count, ExitCode, Nanoseconds, Seconds
from trunkline.contracts.spec import Transform
from trunkline.contracts.states import Cause, DatumState

T = TypeVar("T")

MESSAGE_MAX_BYTES = 32 * 1024
"""A datum or outcome message never grows over this: what is larger is an object."""

INLINE_FILES = 16
"""How many files a datum or outcome message names itself; more are a run in the object store."""


class File(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One file and where its bytes lie: an entry of a manifest. A small one shares an object."""

    path: str
    """In its repo, with a leading slash."""
    size: Count
    sha256: str
    """Of the contents, 64 hex digits."""
    object: str = ""
    """Key in the store; empty for a file without bytes."""
    offset: Count = 0


class Span(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A range of entries of a manifest, by position."""

    first: Count
    count: Count


class DatumInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one input of the pipeline gives to one datum."""

    name: str
    """The directory under /pfs, and the environment variable."""
    path: str
    """What the glob matched: a file, a directory, or `/`."""
    commit: str
    files: tuple[File, ...] | None = None
    """The files themselves, where they are few; None: read `span` of `manifest`."""
    manifest: str = ""
    span: Span | None = None
    more: tuple[Span, ...] = ()
    """Further ranges of `manifest`, where the files of a group lie apart."""
    join_on: str = ""
    """The key that the file was joined by, or grouped by; empty for none."""
    group_by: str = ""
    empty: bool = False
    """Whether the files are shown without their contents."""


class DatumTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="datum-task.v1"):
    """One datum to process.

    Sent by the coordinator on `subjects.datums` with Msg-Id `<job>/<index>/<generation>.<round>`, by
    itself or in a DatumSet; taken by one worker agent, which acks it once its outcome is stored.
    """

    pipeline: str
    job: str
    index: Count
    """Position in the job's full listing, before skipping; with the job it names the outcome."""
    datum: str
    """`names.datum_id`: the same datum has the same id in every job."""
    fingerprint: str
    """`names.fingerprint`, 32 hex digits."""
    inputs: tuple[DatumInput, ...]
    generation: Count = 1
    round: Count = 1
    """Raised when the coordinator puts a datum back whose message was lost."""
    beside: Attempt | None = None
    """Of a copy: the attempt that takes too long, and goes on. Its Msg-Id ends in `/copy`."""


class DatumSet(msgspec.Struct, frozen=True, kw_only=True, tag="datum-set.v1"):
    """Several datums of one job that travel together, where the spec asks for it.

    Sent and taken like a DatumTask, all of the first round and generation. One worker works on them one
    after the other; each has its own outcome, and the set is acked once all have one. A set that
    comes again has some of them done already.
    """

    datums: tuple[DatumTask, ...]


class JobTicket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a worker must know of a job to work on its datums."""

    job: str
    version: int
    code_hash: str
    transform: Transform
    datum_tries: int = 3
    datum_timeout_s: float | None = None
    output_branch: str = "master"
    speculates: bool = False
    """Whether others may be given copies of a datum that takes long: who runs one looks for its outcome."""
    traceparent: str = ""
    """The job's `traceparent`; each attempt is a span of its own in it."""
    generations: dict[str, int] = {}
    """Index -> generation of datums that were restarted: what runs of an older one is killed, and its
    message taken off the queue."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True, tag="assignment.v1"):
    """The jobs of one pipeline whose datums may be pulled, oldest first.

    Sent by the coordinator on `subjects.assignments` whenever it changes, and level-triggered after
    its restart; read by workers at start, after a reconnect, when it is published and with each
    lease renewal. A job that is no longer listed is ended or cancelled: a worker kills what still
    runs for it and publishes no outcome.
    """

    pipeline: str
    jobs: tuple[JobTicket, ...]


class Held(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One delivered and not yet settled datum."""

    job: str
    """Also the name of the consumer."""
    sequence: Count
    """In the pipeline's datum stream."""
    index: Count
    generation: Count
    executing: bool
    since_ns: Nanoseconds = 0
    """Since when it has a slot, wall clock; 0 while it has not had one."""
    preparing: bool = False
    """Whether its command is still to be started: a worker that is lost then charges it nothing."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of a user's container has cut short: what was executing in it, and when it lived.

    Part of a claim. The worker cannot know what the container ended of; its pod's status says so, and
    by the times the scaler finds out which end of which container it was.
    """

    incarnation: str
    """The worker's, then."""
    held: tuple[Held, ...]
    since_ns: Nanoseconds
    """From when on commands may have been started in it; wall clock of the node."""
    at_ns: Nanoseconds
    """When its end was noticed."""


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag="claim.v1"):
    """What one worker incarnation holds right now; also its sign of life and its answer to a drain.

    Sent by worker agents on `subjects.claims`: on each receipt *before* the datum is begun, when one
    is begun, when it has become idle, and every `HEARTBEAT_S`. Heard by the scaler, which is the
    reaper: it never trusts a claim for another pipeline than the authenticated user's, and it builds
    ack subjects itself. Never waited for by the sender (no PubAck).
    """

    worker: str
    incarnation: str
    """Random for each process start."""
    code_hash: str
    slots: Count
    held: tuple[Held, ...] = ()
    draining: bool = False
    """True once it pulls no more; with nothing held it may be deleted."""
    closing: bool = False
    """The last claim of a clean exit: what follows is no loss."""
    pulled_ns: Nanoseconds = 0
    """When its first pull request was sent, wall clock; 0 before."""
    at_ns: Nanoseconds = 0
    order: Count = 0
    """Of this incarnation among all that have had the worker's name: the sequence under which the server has stored
    its first claim. 0 while that is not known."""
    number: Count = 0
    """How many claims this incarnation has told before."""
    connection: str = ""
    """What the server calls the connection by which it comes (`<server>/<client id>`): the loss of another one is no
    loss of this process."""
    instance: str = ""
    """What the cluster calls the worker's pod or process, whose name another one may have had; empty where it has not
    told it. Several incarnations may be of one instance, one after the other."""
    cut: Cut | None = None
    """Of the last container that this process has lost, in this incarnation or the one before."""


HEARTBEAT_S = 5.0
"""Seconds between claims of a worker to which nothing happens, and between lease renewals."""

ACK_WAIT_S = 15.0
"""Seconds after which JetStream redelivers a datum whose lease was not renewed."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain.v1"):
    """Tell one worker to pull no more, give back what it has not begun, finish the rest, say so.

    Sent by the scaler on `subjects.control`, repeated until the worker's claim says `draining`.
    One way: a drained worker never resumes.
    """

    incarnation: str
    """Of the claim that the decision rests on; empty for whichever it is."""
    reason: str = ""


class Figures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt took. Seconds and bytes.

    They are added up and shown to all, so an outcome with one that is out of bounds cannot be read at all.
    """

    wait_s: Seconds = 0.0
    """From receipt to the start of staging."""
    download_s: Seconds = 0.0
    process_s: Seconds = 0.0
    upload_s: Seconds = 0.0
    download_bytes: Count = 0
    upload_bytes: Count = 0
    cpu_s: Seconds = 0.0
    peak_rss_bytes: Count = 0
    """Of the largest process; 0: not known, as without containers below the some 35 MB of the shim in
    Python: the kernel counts in what a process had before it became the command."""
    printed_bytes: Count = 0
    """On stdout and stderr, and what of it is in no log line: over the limit, or not stored in time."""
    unkept_bytes: Count = 0
    unkept_lines: Count = 0
    redelivered: Count = 0
    """Deliveries of its message before this one, as the server has counted them; of a datum set, told with
    its first datum."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="outcome.v1"):
    """The one record of how a datum ended in a job; the truth about it.

    Sent by worker agents on `subjects.outcome`, which refuses a second one; folded by the
    coordinator, which checks it against the job. Only after its PubAck is the datum acked.
    """

    pipeline: str
    job: str
    index: Count
    generation: Count
    datum: str
    fingerprint: str
    state: DatumState
    worker: str
    incarnation: str
    files: tuple[File, ...] | None = None
    """The output, sorted by path, where it is few; None: read the run `manifest`."""
    manifest: str = ""
    output_files: Count = 0
    output_bytes: Count = 0
    reason: str = ""
    """For people: why it failed, with the exit code."""
    exit_code: ExitCode | None = None
    log_tail: str = ""
    """The last lines that the command printed; at most 4 KiB."""
    attempts: Count = 1
    """How many attempts were made in all, this one included."""
    history: tuple[Attempt, ...] = ()
    """What the ledger said at the end, with this attempt; empty if there was no other. The ledger
    itself goes with the job."""
    figures: Figures = Figures()
    ended_ns: Nanoseconds = 0


class LogLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="log.v1"):
    """A piece of what a datum's command printed: whole lines where there are any, at most some 16 KiB.

    Sent by worker agents on `subjects.logs`, again until it is stored, with a Msg-Id that makes one of all
    copies; and of a worker that was lost by the reaper, which says so. Kept for a while, bounded in bytes.
    """

    worker: str
    datum: str
    index: Count
    stream: str
    """`stdout`, `stderr`, or `agent` for what Trunkline itself has to say."""
    text: str
    """Without a newline at its end, the line goes on in the next piece of the same stream and attempt."""
    at_ns: Nanoseconds
    """Wall clock of the sender, when the piece was cut off."""
    attempt: Count = 1
    """Which attempt at the datum it is, as `inspect datum` numbers them."""
    generation: Count = 1
    """Of the datum: over 1 if it was restarted, and the attempts are counted anew."""
    incarnation: str = ""
    """The worker's."""
    ends: Cause | None = None
    """What the attempt ended of, where this line says so: always one of `agent`. An attempt may be said to
    have ended more than once; the last word counts."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="event.v1"):
    """Why something happened; never read back to decide anything.

    Services store theirs on `subjects.event`, in CTL; workers on `subjects.worker_event`, in DATA. Which of both an event
    came by, not what it says of itself, tells whether it is a service's.
    """

    kind: str
    """Such as `spec-refused`, `job-changed`, `scaled`, `attempt`, `reaped`, `repaired`."""
    pipeline: str
    at_ns: Nanoseconds
    source: str
    """`coordinator`, `scaler`, or the worker's name."""
    text: str
    """One sentence for people."""
    job: str = ""
    index: Count | None = None
    worker: str = ""
    facts: dict[str, msgspec.Raw] = {}
    """The inputs of a decision, JSON each."""


_decode_datums: Callable[[bytes], DatumTask | DatumSet] = msgspec.json.Decoder(
    DatumTask | DatumSet
).decode


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as JSON."""
    return msgspec.json.encode(message)


def decode_datums(subject: str, data: bytes) -> tuple[DatumTask, ...]:
    """Return the datums that a message of a work queue asks for; there is at least one.

    Raises:
        MalformedMessageError: it is none, or its datums are not all of one job.
    """
    try:
        message = _decode_datums(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.MalformedMessageError(subject, str(error)) from error
    if isinstance(message, DatumTask):
        return (message,)
    if len({(each.pipeline, each.job) for each in message.datums}) != 1:
        raise errors.MalformedMessageError(subject, "its datums are not those of one job")
    return message.datums


def decode(subject: str, data: bytes, kind: type[T]) -> T:
    """Return the message that `data` holds, or raise MalformedMessageError naming the subject."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.MalformedMessageError(subject, str(error)) from error
