"""Requests to the coordinator on `subjects.api(...)`, and its replies.

Request-reply in JSON, so that `nats request` works. Every reply is a `Reply`: either `ok`, or a
`code` with all problems, each with a JSON path (empty where none applies). Lists are paged: `after`
is what the page before said in `next` (its last key: a name; a commit's id; `<pipeline>.<id>` of a
job; a datum's index; a stream sequence of a log line or an event).

| verb | request | result |
|---|---|---|
| pipeline.apply | the spec, JSON or YAML | records.Pipeline |
| pipeline.apply-now | the spec, JSON or YAML | records.Pipeline |
| pipeline.reprocess | PipelineReprocess | records.Pipeline |
| pipeline.stop | Named | records.Pipeline |
| pipeline.start | Named | records.Pipeline |
| pipeline.rerun | PipelineRerun | records.Job |
| pipeline.plan | specs, JSON or YAML | list of Plan |
| pipeline.plan-as | PipelinePlan | list of Plan |
| pipeline.delete | PipelineDelete | records.Pipeline |
| pipeline.get | PipelineNamed | PipelineView |
| pipeline.versions | Page (key: a pipeline) | list of records.Pipeline |
| pipeline.explain | Named | Explained |
| pipeline.list | Page | list of PipelineView |
| pipeline.tick | Named | Ticked |
| repo.create | RepoCreate | records.Repo |
| repo.list | Page | list of RepoView |
| repo.get | Named | RepoView |
| repo.delete | Named | records.Repo |
| branch.create | BranchCreate | records.Branch |
| branch.get | BranchNamed | records.Branch |
| branch.delete | BranchNamed | records.Branch |
| commit.finish | CommitFinish | records.Commit |
| commit.get | CommitNamed | records.Commit |
| commit.list | Page (key: `<repo>`) | list of records.Commit |
| job.get | JobNamed | records.Job |
| job.list | Page (key: a pipeline, or empty) | list of records.Job |
| job.find | JobReading | records.Job |
| job.stop | JobNamed | records.Job |
| job.rerun | JobRerun | records.Job |
| job.delete | JobNamed | records.Job |
| datum.list | DatumPage | list of DatumView |
| datum.restart | DatumRestart | records.Job |
| log.page | LogPage | list of LogEntry |
| log.bounds | - | LogBounds |
| event.list | EventPage (key: a pipeline, or empty) | list of messages.Event |
| worker.list | Page (key: a pipeline, or empty) | list of records.Scaling |
| nodes.set | NodesSet | records.Nodes |
| nodes.get | - | records.Nodes |
| gc.start | Collect | Collection |
| gc.get | - | Collection |
| status | - | Status |
"""

import msgspec

from trunkline.contracts import messages, records
from trunkline.contracts.states import DatumState

PAGE_MAX = 500
"""Entries of one page; a reply stays far below NATS' 1 MiB."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every request is answered with."""

    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    """`invalid`, `not-found`, `exists`, `conflict`, `unavailable` or `internal`."""
    problems: tuple[tuple[str, str], ...] = ()
    more: bool = False
    """Whether there is a next page."""
    next: str = ""
    """What to ask for in `after` to get it (as a number where `after` is one)."""
    passed: int = 0
    """Of `log.page`: how many messages up to there were looked at and passed over, since nobody can read them."""


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The thing itself."""

    name: str


class PipelineNamed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pipeline, as it is or as it once was."""

    name: str
    version: int = 0
    """0 for the newest."""


class PipelineDelete(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pipeline that is to go."""

    name: str
    force: bool = False
    """Also if others read its output: they keep what is there, and get no more."""


class PipelineReprocess(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Apply a spec, and let nothing count as done that the pipeline did before.

    It makes a new version, also of a spec that is in force. Refused where the spec has a `salt`:
    changing that does the same. Repeating it is answered like the first time.
    """

    spec: str
    """JSON or YAML."""
    salt: str
    """Random, made by the client: the pipeline's from now on."""
    now: bool = False
    """As `pipeline.apply-now`."""


class PipelinePlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What specs would do if they were applied in one of the other ways."""

    specs: str
    """JSON or YAML."""
    now: bool = False
    """As `pipeline.apply-now`."""
    reprocess: bool = False
    """As `pipeline.reprocess`."""


class PipelineRerun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new job on the newest inputs."""

    name: str
    reprocess: bool = False
    """Run what is done, too."""
    id: str = ""
    """Of the job. Random, made by the client; repeating a request whose answer was lost is then safe."""


class JobRerun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new job on the inputs of one that has ended, with the code that its pipeline has now."""

    pipeline: str
    job: str
    reprocess: bool = False
    id: str = ""
    """As in PipelineRerun."""


class PlannedDatum(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A datum as it would be listed."""

    index: int
    id: str
    paths: str
    """What its inputs are, for people."""
    size: int
    """Bytes that would be fetched for it."""
    skipped: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a spec would do if it were applied now."""

    pipeline: str
    version: int
    """That it would have, or has."""
    changed: bool
    """Whether there would be a new version."""
    runs: bool
    """Whether a job would run at once, or with the first commit."""
    datums: int = 0
    cut: bool = False
    """Whether the listing was cut off: there are at least so many datums, bytes and skipped ones."""
    bytes: int = 0
    """Of the input files of all datums that would run."""
    skipped: int = 0
    """Datums that are done already."""
    kills: int = 0
    """Jobs of older versions that would be killed at once."""
    workers: int | None = None
    """How many there would be at most; None where it is not known on which nodes."""
    warnings: tuple[str, ...] = ()
    first: tuple[PlannedDatum, ...] = ()
    """The first datums, one by one."""


class Ticked(msgspec.Struct, frozen=True, kw_only=True):
    """The commits that a pipeline's cron inputs made when they were told to tick."""

    commits: tuple[records.Commit, ...]


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of a list."""

    key: str = ""
    after: str = ""
    limit: int = 100


class EventPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of events: all, or those that speak of one job or worker.

    The last page has a `next`, too: with that in `after`, whoever follows gets what comes later.
    """

    key: str = ""
    after: str = ""
    limit: int = 100
    since_ns: int = 0
    """Only those that were stored since then; 0 for all."""
    job: str = ""
    worker: str = ""
    """Only those of it, and decisions that created or drained it."""
    last: int = 0
    """Where `after` is empty: of the key's events only those at the end, no fewer than so many in each account, and no
    more than a few times that; what is asked for of a job or a worker is looked for among these. 0: all."""


class RepoCreate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new repo, with the branch `master`."""

    name: str
    description: str = ""


class BranchNamed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A branch of a repo."""

    repo: str
    branch: str = "master"


class BranchCreate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new branch, empty or at a commit."""

    repo: str
    branch: str
    head: str = ""


class CommitNamed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A commit by id, or the head of a branch by its name."""

    repo: str
    ref: str = "master"


class CommitFinish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new commit whose bytes and manifest are in the store already.

    Refused with `conflict` when the branch's head is not `parent` any more: merge again on the new
    head and repeat. Repeating it with the same id is answered like the first time.
    """

    repo: str
    branch: str
    id: str
    """Random, made by the client; repeating a request whose answer was lost is then safe."""
    parent: str
    manifest: str
    files: int
    size: int


class JobNamed(msgspec.Struct, frozen=True, kw_only=True):
    """A job."""

    pipeline: str
    id: str


class JobReading(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline's job that runs on a commit, whatever its own id is.

    A commit's id is mostly that of the jobs it sets off. But where several inputs had moved when a job
    was made, or a new version found the commit there, the job has an id of its own. Meant is the job with
    the commit's id, else the first one that reads it; and where that was run again on the very same commits, its
    newest run.
    """

    pipeline: str
    repo: str
    commit: str


class DatumPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One page of a job's datums, by index."""

    pipeline: str
    job: str
    after: int = -1
    limit: int = 100
    states: tuple[str, ...] = ()
    """Only these; empty for all."""
    datum: str = ""
    """The first digits of a datum's id: only datums like this. Then the inputs are listed anew."""


class DatumRestart(msgspec.Struct, frozen=True, kw_only=True):
    """Have datums of a running job worked on once more, whatever became of them.

    Refused with `invalid`, as a whole, where the job does not run any more, or a datum is skipped or
    not listed. Repeating it is answered like the first time.
    """

    pipeline: str
    job: str
    generations: dict[int, int]
    """Index -> the generation that the datum is to have: one more than `DatumView.generation`."""


class DatumView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One datum as it is shown.

    Without an outcome it is `WAITING` in the queue, `STARTING` in a worker's hands, `RUNNING` while its
    command or what goes before and after it runs, or `CANCELLED` if its job has ended without it.
    """

    index: int
    state: str
    outcome: messages.Outcome | None = None
    attempts: msgspec.Raw = msgspec.Raw(b"null")
    """The ledger, where there is one."""
    generation: int = 1
    """Over 1 if it was restarted."""
    worker: str = ""
    """Who has it in hand, while it is STARTING or RUNNING, and since when."""
    since_ns: int = 0


class LogPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of the log stream, by stream sequence."""

    pipeline: str
    job: str = ""
    index: int | None = None
    """Of a datum of that job."""
    worker: str = ""
    stream: str = ""
    """`stdout`, `stderr` or `agent`; empty for all."""
    after: int = 0
    """The sequence behind which the page begins; 0: at the beginning, or where these say:"""
    since_ns: int = 0
    """Nothing that was stored before this time."""
    last: int = 0
    """No more than a few times so many messages from the end, and no fewer than so many; 0: all."""
    limit: int = 200


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One log message with where it stands."""

    sequence: int
    job: str
    line: messages.LogLine
    pipeline: str = ""
    trace: str = ""
    """The 32 hex digits of its trace, as in the services' logs."""
    traceparent: str = ""
    """That of the attempt: its trace, and a span of its own."""


class LogBounds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the log stream holds, and for how long."""

    messages: int
    bytes: int
    gone: bool
    """Whether it has held anything that it does not hold any more."""
    first_ns: int
    """When the oldest message was stored; 0 where there is none."""
    max_age_s: float
    max_bytes: int


class NodesSet(msgspec.Struct, frozen=True, kw_only=True):
    """How many logical nodes there are."""

    count: int


class PipelineView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pipeline with what the scaler says of it and its last job."""

    pipeline: records.Pipeline
    scaling: records.Scaling | None = None
    last_job: records.Job | None = None


class Explained(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a pipeline has as many workers as it has."""

    pipeline: records.Pipeline
    decision: messages.Event | None = None
    """The last decision of the scaler that changed anything, with its inputs as facts; it is kept as
    long as events are."""
    scaling: records.Scaling | None = None
    """What the scaler sees by now."""


class RepoView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A repo with its branches."""

    repo: records.Repo
    branches: tuple[records.Branch, ...] = ()


class Collect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Have the store swept of what nobody needs; answered with what runs, if something does."""

    dry_run: bool = False
    """Only say what would go."""
    despite_damage: bool = False
    """Remove also if something that others hang on cannot be read."""


class Collection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A collection that runs, or has ended; of a dry run, what would have gone."""

    began_ns: int
    ended_ns: int = 0
    dry_run: bool = False
    despite_damage: bool = False
    problem: str = ""
    """Why it has come to nothing."""
    damaged: tuple[str, ...] = ()
    """What could not be read though others hang on it; the first few."""
    jobs: int = 0
    commits: int = 0
    """Records that went."""
    objects: int = 0
    bytes: int = 0
    """What the store held."""
    needed: int = 0
    """Objects that are needed."""
    removed: int = 0
    removed_bytes: int = 0


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who leads a service, and who would take over."""

    service: str
    leader: str = ""
    """Empty while none does."""
    term: int = 0
    """How many have led up to this one."""
    since_ns: int = 0
    standbys: tuple[str, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the installation is and promises."""

    version: str
    durability: str
    """Such as `replicated: file R3`: the level that was stated (see `contracts.durability`), and what
    streams are."""
    store: str
    server: str
    """Version of the NATS server."""
    ready: bool = True
    problems: tuple[str, ...] = ()
    services: tuple[Standing, ...] = ()
    metrics: dict[str, str] = {}
    """Where each process shows its metrics; filled in by who asks on the machine of the installation."""


DATUM_STATES_OPEN = ("WAITING", "STARTING", "RUNNING", "CANCELLED")
"""How a datum without an outcome may stand."""
DATUM_STATES_SHOWN = (*DATUM_STATES_OPEN, *DatumState)
