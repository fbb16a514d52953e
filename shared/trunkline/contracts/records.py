"""Records in the key-value buckets of the account CTL: the state of an installation.

Each is JSON under a key that `subjects` documents, and is changed by compare-and-set on its
revision. All memory of the services is a cache of these.
"""

import msgspec

from trunkline.contracts import spec as specs
from trunkline.contracts.spec_findings import Problem
from trunkline.contracts.states import JobState, PipelineState


class Repo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named set of files with branches."""

    name: str
    created_ns: int
    description: str = ""
    pipeline: bool = False
    """Whether a pipeline of the same name owns it; nobody else commits to it then."""
    ticks_of: str = ""
    """The pipeline for whose cron input it was made: it goes with that, unless others read it."""


class Branch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A moving name for the newest commit."""

    repo: str
    name: str
    head: str = ""
    """Id of a commit; empty while there is none."""
    moved_ns: int = 0
    ticks: dict[str, int] = {}
    """`ticks.name` -> the newest tick, in seconds since the epoch, that was committed here for a cron
    input: it moves with the head, so that no tick is made twice."""


class Commit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An immutable snapshot of a repo. The whole chain of one change over the DAG shares its id."""

    id: str
    repo: str
    branch: str
    manifest: str
    """Key of a run of `messages.File`, sorted by path."""
    files: int
    size: int
    """Bytes of all files."""
    created_ns: int
    parent: str = ""
    traceparent: str = ""
    """The `traceparent` that it was made with, if any."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the last published spec of a pipeline was refused."""

    problems: tuple[Problem, ...]
    at_ns: int


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pipeline at its newest version; or, in state REFUSED without a spec, one that never was."""

    name: str
    state: PipelineState
    version: int = 0
    spec: specs.PipelineSpec | None = None
    salt: str = ""
    """The spec's salt, or one made when the pipeline was created; kept over updates."""
    since: int = 0
    """The oldest version whose jobs are as good as this one's: those after it have changed only what is
    around the work, such as how many workers do it, and set off no jobs. 0: this version."""
    oldest: int = 0
    """Jobs of versions below this one are killed: `apply --now` has replaced them. At most `since`."""
    set_id: str = ""
    """Id of the job set that this version itself sets off on the inputs that were there when it was
    applied, or was told to run again; empty if one was missing, since the commit that brings it sets off
    the first job then."""
    reprocess: bool = False
    """Whether the job of `set_id` skips nothing."""
    starts: int = 0
    """How often the pipeline was stopped and started again."""
    created_ns: int = 0
    updated_ns: int = 0
    refusal: Refusal | None = None
    ignored: tuple[str, ...] = ()
    """Fields of the spec that have no effect in this installation, for `inspect` to show."""
    command: int = 0
    """Sequence in the command stream of the newest published spec that is taken into account: an
    older one that is delivered again must not undo what came after it."""
    traceparent: str = ""
    """The `traceparent` that this version was applied with, if any, or was last told to run again with."""


class JobInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input of a job."""

    name: str
    repo: str
    branch: str
    commit: str = ""
    """Empty while the upstream job of the same set has not committed."""
    upstream: bool = False
    """Whether a job of the same set makes this commit."""


class Skipped(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Datums of one listing window that an earlier job had done: a run of outcomes by index."""

    run: str
    """Empty where the window has none."""
    count: int


class Counts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Datums of a job by how they ended."""

    processed: int = 0
    skipped: int = 0
    recovered: int = 0
    failed: int = 0
    quarantined: int = 0
    copied: int = 0
    """Of these, datums that a second worker was given while the first took long (`speculation`)."""

    @property
    def good(self) -> int:
        """How many have ended well."""
        return self.processed + self.skipped + self.recovered

    @property
    def bad(self) -> int:
        """How many have not."""
        return self.failed + self.quarantined

    @property
    def done(self) -> int:
        """How many have ended."""
        return self.good + self.bad


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of one pipeline version over its input commits."""

    pipeline: str
    id: str
    version: int
    code_hash: str
    spec: specs.PipelineSpec
    """Pinned: an updated pipeline does not touch a job that is there."""
    salt: str
    order: int
    """Position among the pipeline's jobs; they finish in this order."""
    inputs: tuple[JobInput, ...]
    state: JobState
    created_ns: int
    started_ns: int = 0
    ended_ns: int = 0
    reason: str = ""
    rerun_of: str = ""
    """The job on whose inputs this one was told to run again."""
    reprocess: bool = False
    """Whether it skips nothing, whatever the spec says."""
    halted: bool = False
    """Whether it was killed because its pipeline was stopped: what it read counts as not seen then, so
    that the pipeline takes it up again once it is started."""
    done_runs: tuple[str, ...] = ()
    """The runs of the done index that skipping is decided against, for all of the job's life."""
    listed_to: int = 0
    """All datums before this index are published (PubAck seen) or skipped."""
    total: int | None = None
    """How many datums there are; known once listing has ended."""
    skipped: tuple[Skipped, ...] = ()
    """One for each window that was listed, in order."""
    generations: dict[str, int] = {}
    """Index -> generation, where `restart datum` has raised it above 1."""
    round: int = 1
    """Rounds of repair: how often missing datums were put back."""
    counts: Counts = Counts()
    """Exact once the job has ended; before that they lag behind."""
    committing: bool = False
    """Whether the output is complete and being committed: from here on the job is not killed."""
    output: str = ""
    """Id of the output commit (the job's own id), once it is there."""
    outcomes: str = ""
    """Key of the run of the job's own outcomes by index, once there will be no more of them; those of
    skipped datums stay in the runs of `skipped`."""
    done_run: str = ""
    """Key of the run (fingerprint -> index) over `outcomes` that goes into the done index; empty where
    nothing was processed."""
    attempts: str = ""
    """Key of a run of attempt ledgers by index: of datums that were tried, and had no outcome when the job
    ended. Empty where there are none."""
    traceparent: str = ""
    """The `traceparent` of the commit or spec that set it off, or one made of its id."""
    compacted: bool = False
    """Whether outcomes are in the store and the streams are free of the job."""

    @property
    def awaited(self) -> tuple[JobInput, ...]:
        """The inputs that jobs of the same set make, and have not committed."""
        return tuple(each for each in self.inputs if each.upstream and not each.commit)


class DoneIndex(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="done.v1"):
    """The runs (fingerprint -> outcome) that say what a pipeline has done, oldest first."""

    runs: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    """The last jobs whose outcomes went in, so that a repeated append is none."""


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node as the scaler sees it."""

    name: str
    eligible: bool = True
    why_not: str = ""


class Nodes(msgspec.Struct, frozen=True, kw_only=True):
    """The logical nodes of an installation without Kubernetes."""

    count: int


class WorkerView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One worker as the scaler sees it."""

    name: str
    phase: str
    """`starting`, `idle`, `busy`, `draining` or `gone`."""
    code_hash: str = ""
    held: int = 0
    job: str = ""
    """What it executes: the job, and the datum's index."""
    index: int | None = None
    since_ns: int = 0
    pulled_ns: int = 0
    created_ns: int = 0


class Scaling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the scaler made of a pipeline in its last round that changed anything."""

    pipeline: str
    cap: int
    want: int
    have: int
    ready: int
    busy: int
    pending: int
    """Datums that wait, and those in flight."""
    in_flight: int
    reason: str
    """One sentence: why this many."""
    kind: str = ""
    """The same in a word: `cap`, `work`, `to-come`, `cool-down`, `idle` or `stopped` (deleted, too); empty where nothing
    could be decided."""
    wants: dict[str, int] = {}
    """Code hash -> workers; several while jobs of older code are at work. The sum is `want`."""
    nodes: tuple[Node, ...] = ()
    """Those that do not count first, if there are too many for a record; and how many were left out."""
    more_nodes: int = 0
    eligible: int = 0
    """Nodes that count, of all."""
    workers: tuple[WorkerView, ...] = ()
    """Idle ones last, if there are too many for a record; and how many were left out."""
    more_workers: int = 0
    problem: str = ""
    """Why workers cannot be started, where they cannot."""
    at_ns: int = 0


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process that leads the others of its service, or stands by to; see `election`."""

    name: str
    """For people; where it was given by whoever starts the process, no two that live have the same."""
    incarnation: str
    """Random: this process, and no other one before or after it."""
    term: int = 0
    """How many have led up to this one; 0: it stands by."""
    since_ns: int = 0
    """When it began to lead, or to stand by; wall clock, to be shown."""
    life_s: float = 0.0
    """Seconds without a change of the record after which its holder leads no more."""
    released: bool = False
    """Whether its holder has given it back."""
