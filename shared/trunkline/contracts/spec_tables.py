"""Every field that a spec may have, in any of Pachyderm's dialects: the one place that knows them.

What reads specs, the schema for editors and the table in the docs all follow from these. A field is
taken, or it is refused with a sentence that says what to do instead; only what could not change a
result (a size of a cache) is accepted without having an effect, and even that is told.
"""

from collections.abc import Iterator

from trunkline.contracts import (
    globs,
    names,
    schedules,
    spec,
    spec_checks,
    spec_inputs,
    spec_pods,
)
from trunkline.contracts.spec_fields import (
    BYTES,
    COUNT,
    FLAG,
    TEXT,
    TEXTS,
    on_kubernetes,
    refused,
    taken,
    unused,
)
from trunkline.contracts.spec_findings import Findings
from trunkline.contracts.spec_kinds import (
    Anything,
    Duration,
    Later,
    ListOf,
    MapOf,
    Moment,
    Number,
    OneOf,
    Text,
    Whole,
)
from trunkline.contracts.spec_sections import Node, Section, Used, used

MOST_WORKERS = 100_000
MOST_TIMEOUT_S = 365 * 24 * 3600.0
MOST_TRIES = 100
TIMEOUT = Duration(MOST_TIMEOUT_S)


SECRET = Section(
    "secret",
    "A secret for the command; either `mount_path`, or `env_var` and `key`.",
    (
        taken("name", Text(spec_checks.object_name), "the secret's name", required=True),
        taken("mount_path", Text(spec_checks.mount_path), "the directory with a file per key"),
        taken(
            "env_var", Text(spec_checks.environment_variable), "the variable that holds the value"
        ),
        taken("key", Text(spec_checks.secret_key), "the key whose value goes into `env_var`"),
    ),
    spec_checks.secret,
)

TRANSFORM = Section(
    "transform",
    "The code that runs for each datum.",
    (
        taken("cmd", TEXTS, "the command and its arguments; no shell", required=True),
        on_kubernetes("image", Text(spec_checks.image), "the container image"),
        taken("stdin", TEXTS, "lines for the command's standard input"),
        taken("err_cmd", TEXTS, "runs after a failed try; if it ends well, the datum is recovered"),
        taken("err_stdin", TEXTS, "lines for the standard input of `err_cmd`"),
        taken("env", MapOf(TEXT, spec_checks.environment_variable), "environment variables"),
        taken("secrets", ListOf(SECRET), "secrets that the command sees"),
        taken(
            "accept_return_code",
            ListOf(Whole(0, 255)),
            "exit codes that count as success, beside 0",
        ),
        taken("working_dir", TEXT, "the directory that the command starts in"),
        on_kubernetes("user", Text(spec_checks.user), "the user that the command runs as"),
        taken(
            "datum_batching", FLAG, "the command stays up and asks for one datum after the other"
        ),
        on_kubernetes("memory_volume", FLAG, "/pfs lies in memory"),
        on_kubernetes(
            "image_pull_secrets",
            ListOf(Text(spec_checks.object_name)),
            "secrets with which the image is pulled",
        ),
        unused("debug", FLAG, "services log as their own settings say"),
        unused("dockerfile", TEXT, "images are built elsewhere"),
        refused("build", "images are not built here: build it, push it, and name it in `image`"),
    ),
    spec_checks.transform,
)

PARALLELISM = Section(
    "parallelism_spec",
    "How many workers: exactly one of the two. Without it, one per node.",
    (
        taken("constant", Whole(1, MOST_WORKERS), "so many workers"),
        taken("coefficient", Number(0, MOST_WORKERS), "so many workers per eligible node"),
        unused("strategy", TEXT, "the one that is set says it"),
    ),
    spec_checks.exactly_one("constant", "coefficient"),
)

TRIGGER = Section(
    "trigger",
    "When new commits are processed, if not at once.",
    (
        taken("branch", Text(names.branch), "the branch that is watched"),
        taken("all", FLAG, "all conditions must hold, not any"),
        taken(
            "rate_limit_spec", Text(schedules.parse), "no more often than this cron expression says"
        ),
        taken("size", BYTES, "so many new bytes", to="size_bytes"),
        taken("commits", COUNT, "so many new commits"),
        taken("cron_spec", Text(schedules.parse), "at the times of this cron expression"),
    ),
    spec_checks.trigger,
)

S3 = "there is no S3 gateway: leave it out, and read and write files below /pfs"

PFS = Section(
    "pfs",
    "Files of a branch.",
    (
        taken("repo", Text(names.repo), "the repo", required=True),
        taken(
            "glob", Text(globs.compile), "what makes a datum; `/` is the whole repo", required=True
        ),
        taken("name", Text(names.branch), "the directory below /pfs; the repo's name if not set"),
        taken("branch", Text(names.branch), "the branch; `master` if not set"),
        taken("join_on", TEXT, "the key of a join, from the groups of `glob`, such as `$1`"),
        taken("outer_join", FLAG, "in a join, what finds no partner is a datum too"),
        taken("group_by", TEXT, "the key of a group, from the groups of `glob`"),
        taken("empty_files", FLAG, "files are shown without their contents"),
        taken("lazy", FLAG, "files are fetched when they are opened"),
        taken("reference", FLAG, "changed contents alone run nothing again"),
        taken("trigger", TRIGGER, "when new commits are processed, if not at once"),
        taken("project", Text(spec_checks.default_project), "`default` only", to=None),
        taken("repo_type", Text(spec_checks.user_repo), "`user` only", to=None),
        refused("commit", "an input follows a branch: name it in `branch`", TEXT),
        refused("s3", S3, FLAG),
        refused(
            "propagation_spec",
            "every commit of an input sets off a job: use `reference`, or a branch of your own",
        ),
    ),
    spec_inputs.check_pfs,
)

CRON = Section(
    "cron",
    "Ticks; each is a commit of an empty file that is named after its time.",
    (
        taken("name", Text(names.repo), "the directory below /pfs", required=True),
        taken(
            "spec",
            Text(schedules.parse),
            "a cron expression, `@every 90s` or the like",
            required=True,
        ),
        taken("repo", Text(names.repo), "the repo of the ticks; `<pipeline>_<name>` if not set"),
        taken("start", Moment(), "from when on ticks count; now if not set"),
        taken("overwrite", FLAG, "a tick takes the place of those before it"),
        taken("project", Text(spec_checks.default_project), "`default` only", to=None),
        refused("commit", "ticks are commits: leave it out", TEXT),
    ),
    spec_inputs.check_pfs,
)

_INPUTS = ListOf(Later(lambda: INPUT))

INPUT: Section = Section(
    "input",
    "What a pipeline reads: exactly one kind.",
    (
        taken("pfs", PFS, "files of a branch"),
        taken("cross", _INPUTS, "each datum of one with each of the others"),
        taken("union", _INPUTS, "the datums of all, one input after the other"),
        taken("join", _INPUTS, "the datums that have the same `join_on`"),
        taken("group", _INPUTS, "one datum per `group_by`, with all that have it"),
        taken("cron", CRON, "ticks of a clock"),
        refused("git", "there are no git inputs: put what you need into a repo (`trunkline put`)"),
        refused("atom", "atom inputs are called `pfs` since Pachyderm 1.8"),
    ),
    spec_checks.exactly_one(*spec_inputs.LEAVES, *spec_inputs.COMBINED),
    spec_inputs.too_many,
)

DATUM_SETS = Section(
    "datum_set_spec",
    "How many datums travel together: a worker works on a set's datums one after the other, and each has"
    " its own outcome. Without it each travels alone. A set is never larger than a message of 32 KiB,"
    " some 70 datums of one file.",
    (
        taken("number", COUNT, "at most so many datums"),
        taken("size_bytes", COUNT, "at most so many bytes of input"),
        taken(
            "per_worker",
            Whole(0, 1_000_000),
            "so many sets for each worker, of each window of the listing (up to 8,192 datums)",
        ),
    ),
    spec_checks.datum_sets,
)

SPECULATION = Section(
    "speculation",
    "A datum that takes much longer than most is given to a second worker, where one is idle; the first outcome"
    " counts, and the other try is ended. So its command may run twice at once. Not in Pachyderm; not with"
    " `err_cmd`.",
    (
        taken("after", Number(1, 1000), "so many times the duration of most; 1.5 if not set"),
        taken(
            "quantile",
            Number(0, 0.99),
            "the share of the datums that must be done, and whose longest duration is taken; 0.75 if not set",
        ),
    ),
)

PROJECT = Section(
    "project",
    "There is one project.",
    (taken("name", Text(spec_checks.default_project), "`default` only", to=None),),
)

PIPELINE = Section(
    "pipeline",
    "Which pipeline it is.",
    (
        taken(
            "name",
            Text(names.pipeline),
            "the pipeline's name, and its output repo's",
            required=True,
        ),
        taken("project", PROJECT, "`default` only", to=None),
    ),
)

_SIDECAR = "what it would limit does not exist: data goes to and from the store directly"
_SALT = "change the `salt`, or use `apply --reprocess`, to run everything again"

SPEC = Section(
    "spec",
    "One pipeline.",
    (
        taken("pipeline", PIPELINE, "which pipeline it is", to=None),
        taken("name", Text(names.pipeline), "short for `pipeline.name`"),
        taken("description", TEXT, "for people"),
        taken("transform", TRANSFORM, "the code that runs for each datum", required=True),
        taken("input", INPUT, "what it reads", required=True),
        taken("parallelism_spec", PARALLELISM, "how many workers"),
        taken("standby", FLAG, "workers only while there is work", also=("autoscaling",)),
        taken("datum_tries", Whole(1, MOST_TRIES), "how often a datum is tried; 3 if not set"),
        taken("datum_timeout", TIMEOUT, "how long one try may take", to="datum_timeout_s"),
        taken("job_timeout", TIMEOUT, "how long a job may take", to="job_timeout_s"),
        taken(
            "output_branch", Text(names.branch), "the branch of the results; `master` if not set"
        ),
        taken("salt", TEXT, "a changed one runs everything again"),
        taken(
            "reprocess_spec",
            OneOf({word: word for word in ("until_success", "every_job")}),
            "`every_job` skips nothing",
        ),
        taken(
            "datum_set_spec", DATUM_SETS, "how many datums travel together", also=("chunk_spec",)
        ),
        taken("speculation", SPECULATION, "a second copy of a datum that takes much longer"),
        taken(
            "same_path",
            OneOf({word: word for word in ("fail", "concatenate")}),
            "a path that several datums write fails the job, or holds their contents in the order of"
            " the datums (not in Pachyderm 2)",
        ),
        *spec_pods.FIELDS,
        taken("$schema", Anything(), "for editors", to=None),
        unused("sidecar_resource_requests", spec_pods.RESOURCES, _SIDECAR),
        unused("sidecar_resource_limits", spec_pods.RESOURCES, _SIDECAR),
        unused("cache_size", BYTES, "there is no cache to size"),
        unused("max_queue_size", COUNT, "workers decide themselves how many datums to fetch ahead"),
        unused("enable_stats", FLAG, "figures of every datum are always kept"),
        unused("hashtree_spec", Anything(), "results are merged without hash trees"),
        unused("maximum_expected_uptime", TIMEOUT, "it raises no alert"),
        unused("update", FLAG, "`apply` creates and updates"),
        unused("spec_commit", Anything(), "versions are counted"),
        refused("reprocess", _SALT, FLAG),
        refused("dry_run", "use `trunkline validate`", FLAG),
        refused(
            "egress",
            "results are not written elsewhere: let the command of a pipeline downstream do that",
        ),
        refused("service", "services do not run here: deploy one that reads the output branch"),
        refused("spout", "spouts do not run here: let a process of yours put files, or use `cron`"),
        refused("s3_out", S3, FLAG),
        refused("determined", "there is no Determined here: leave it out"),
        refused("inputs", "since Pachyderm 1.5 it is `input`, with the repo in `pfs`"),
        refused("tf_job", "there is no Kubeflow here: put the training into `transform`"),
    ),
    spec_checks.whole_spec,
)


def read(document: object, found: Findings) -> Node | None:
    """Return what a document says, checked; or None after telling what is wrong with it."""
    node = SPEC.read(document, "$", found)
    if not isinstance(node, Node):
        return None
    if isinstance(node.get("input"), Node):
        spec_inputs.check_tree(node["input"], found)
    return node


def used_fields(wanted: spec.PipelineSpec) -> Iterator[Used]:
    """Yield each field of a spec that is set to something else than its default."""
    yield from used(wanted, SPEC)
