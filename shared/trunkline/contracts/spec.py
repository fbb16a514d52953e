"""The pipeline spec: Pachyderm's, as far as Trunkline takes it over.

The structs name each field as the snake_case dialect does, with the unit behind it where there is one;
`spec_parsing` accepts the other dialects and turns them into these. What a struct holds is complete:
defaults are filled in, both spellings of a setting are one. `spec_tables` says of each field what it is
for; here stands only what the types cannot say. `code_hash` says which part of a spec is code: a change
of anything else restarts no worker and repeats no datum.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime

import msgspec


class _Part(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What all of the structs have in common."""


class Secret(_Part, frozen=True, kw_only=True):
    """A secret that the user's command sees: as files below `mount_path`, or in `env_var`."""

    name: str
    mount_path: str = ""
    env_var: str = ""
    key: str = ""
    """Whose value goes into `env_var`; empty with `mount_path`, which has a file per key."""


class Transform(_Part, frozen=True, kw_only=True):
    """The user's code."""

    cmd: tuple[str, ...]
    """The command and its arguments; no shell is put in between."""
    image: str = ""
    """The container image; without Kubernetes it has no effect, and a warning says so."""
    stdin: tuple[str, ...] = ()
    """Lines for the command's standard input; each gets a final newline."""
    env: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    accept_return_code: tuple[int, ...] = ()
    """Exit codes that count as success beside 0."""
    err_cmd: tuple[str, ...] = ()
    """Run when a try has failed; if it ends well, the datum is recovered. Empty for none."""
    err_stdin: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    datum_batching: bool = False
    """Whether the command stays up and asks for one datum after the other."""
    image_pull_secrets: tuple[str, ...] = ()
    memory_volume: bool = False
    """Whether /pfs lies in memory."""


class Parallelism(_Part, frozen=True, kw_only=True):
    """How many workers: at most one of the two."""

    constant: int | None = None
    coefficient: float | None = None


class Trigger(_Part, frozen=True, kw_only=True):
    """When new commits of an input are processed, if not at once: at any of these, or at all."""

    branch: str = ""
    all: bool = False
    rate_limit_spec: str = ""
    """A cron expression: no more often than that."""
    size_bytes: int = 0
    commits: int = 0
    cron_spec: str = ""


class PfsInput(_Part, frozen=True, kw_only=True):
    """Files of a branch, made into datums by a glob."""

    repo: str
    glob: str
    name: str = ""
    """The directory under /pfs; filled in with the repo's name."""
    branch: str = "master"
    join_on: str = ""
    """The key of a match, from the glob's groups (`$1`); set exactly below a join."""
    outer_join: bool = False
    """Whether a match that finds no partner is a datum all the same."""
    group_by: str = ""
    """As `join_on`; set exactly below a group."""
    empty_files: bool = False
    """Whether the files are shown without their contents."""
    lazy: bool = False
    reference: bool = False
    """Whether its contents are left out of the fingerprint."""
    trigger: Trigger | None = None


class CronInput(_Part, frozen=True, kw_only=True):
    """Ticks: each is a commit of an empty file that is named after its time."""

    name: str
    spec: str
    """A cron expression; `schedules` reads it."""
    repo: str = ""
    """Where the ticks go; filled in with `<pipeline>_<name>`."""
    start: datetime | None = None
    """From when on ticks count, in UTC; None for when the pipeline was made."""
    overwrite: bool = False
    """Whether a tick takes the place of those before it."""


class Input(_Part, frozen=True, kw_only=True):
    """What a pipeline reads; exactly one kind."""

    pfs: PfsInput | None = None
    cross: tuple["Input", ...] | None = None
    """Each datum of one with each of the others; the last one varies fastest."""
    union: tuple["Input", ...] | None = None
    """The datums of all, one input after the other."""
    join: tuple["Input", ...] | None = None
    """The datums that have the same key, one of each input."""
    group: tuple["Input", ...] | None = None
    """One datum per key, with all the files that have it."""
    cron: CronInput | None = None


class Gpu(_Part, frozen=True, kw_only=True):
    """Graphics processors, of one type."""

    type: str
    """A resource's name, such as nvidia.com/gpu."""
    number: int


class Resources(_Part, frozen=True, kw_only=True):
    """What one worker needs, or may use."""

    cpu: float | None = None
    """Cores."""
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    gpu: Gpu | None = None


class Toleration(_Part, frozen=True, kw_only=True):
    """A taint that the workers' pods may stand; the words are Kubernetes' own."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    """Empty for all."""
    toleration_s: int | None = None


class Scheduling(_Part, frozen=True, kw_only=True):
    """Where the workers' pods may run."""

    node_selector: dict[str, str] = {}
    priority_class_name: str = ""


class Metadata(_Part, frozen=True, kw_only=True):
    """What the workers' pods bear; our own labels win."""

    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class DatumSets(_Part, frozen=True, kw_only=True):
    """How many datums travel in one message; 0 where it is left to us."""

    number: int = 0
    size_bytes: int = 0
    per_worker: int = 0
    """Sets per worker; not with the other two."""


class Speculation(_Part, frozen=True, kw_only=True):
    """When a datum that takes long is given to a second worker, too."""

    after: float = 1.5
    """So many times what `quantile` of the others have taken at most."""
    quantile: float = 0.75
    """The share of the job's datums that must have outcomes before."""


class PipelineSpec(_Part, frozen=True, kw_only=True):
    """One pipeline."""

    name: str
    transform: Transform
    input: Input
    description: str = ""
    parallelism_spec: Parallelism = Parallelism()
    """Neither is set where the spec does not say: the installation's default coefficient, 1, holds."""
    standby: bool = False
    """Workers only while there is work (`autoscaling` in the newer dialects)."""
    datum_tries: int = 3
    datum_timeout_s: float | None = None
    """Seconds one try of one datum may take; then its process group is killed."""
    output_branch: str = "master"
    salt: str = ""
    """Part of every fingerprint: a changed salt runs everything again."""
    job_timeout_s: float | None = None
    """Seconds one job may take; then it is killed."""
    reprocess_spec: str = "until_success"
    """`every_job` skips nothing."""
    datum_set_spec: DatumSets = DatumSets()
    speculation: Speculation | None = None
    """None: no datum is worked on twice at once on purpose."""
    same_path: str = "fail"
    """What happens when two datums write one path: `fail`, or `concatenate`, in datum order."""
    resource_requests: Resources | None = None
    resource_limits: Resources | None = None
    scheduling_spec: Scheduling = Scheduling()
    tolerations: tuple[Toleration, ...] = ()
    metadata: Metadata = Metadata()
    pod_spec: str = ""
    """JSON, merged into the workers' pods after everything else (RFC 7386)."""
    pod_patch: str = ""
    """JSON, applied to the workers' pods after `pod_spec` (RFC 6902)."""
    unused: tuple[str, ...] = ()
    """Paths of what else the user wrote: it was understood, and has no effect anywhere."""


def code_hash(transform: Transform) -> str:
    """Return 16 hex digits over what makes a result what it is.

    That is the image, the command with its input and environment, and the codes that count as success;
    and where they are used, what runs after a failure, secrets, and how the command takes its datums.
    """
    code: tuple[object, ...] = (
        transform.image,
        transform.cmd,
        transform.stdin,
        sorted(transform.env.items()),
        transform.working_dir,
        transform.user,
        sorted(transform.accept_return_code),
    )
    more = (transform.err_cmd, transform.err_stdin, transform.secrets, transform.datum_batching)
    if any(more):
        code += more
    return hashlib.sha256(msgspec.json.encode(code)).hexdigest()[:16]


def leaves(value: Input, path: str = "$.input") -> Iterator[tuple[str, PfsInput]]:
    """Yield the JSON path and the leaf of each input that reads a branch, in the order of the spec.

    A cron input reads its ticks as a pfs input would, one datum each.
    """
    if value.pfs is not None:
        yield f"{path}.pfs", value.pfs
    if value.cron is not None:
        yield f"{path}.cron", PfsInput(repo=value.cron.repo, glob="/*", name=value.cron.name)
    for kind, children in combined(value):
        for position, child in enumerate(children):
            yield from leaves(child, f"{path}.{kind}[{position}]")


def combined(value: Input) -> Iterator[tuple[str, tuple[Input, ...]]]:
    """Yield the inputs that an input is made of, with the name of how."""
    for kind in ("cross", "union", "join", "group"):
        children: tuple[Input, ...] | None = getattr(value, kind)
        if children is not None:
            yield kind, children


def crons(value: Input) -> Iterator[CronInput]:
    """Yield the cron inputs, in the order of the spec."""
    if value.cron is not None:
        yield value.cron
    for _, children in combined(value):
        for child in children:
            yield from crons(child)


def inputs(value: Input) -> tuple[PfsInput, ...]:
    """Return the leaves of an input, in the order of the spec."""
    return tuple(leaf for _, leaf in leaves(value))
