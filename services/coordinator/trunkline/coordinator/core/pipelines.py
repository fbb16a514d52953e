"""Whether a spec is taken, given all that is there: the checks that no parser can make.

A spec that parsed is taken unless it uses what is not run yet (`admission`), its name belongs to a repo
of somebody else's, an input repo does not exist, or it would close a cycle. All reasons are told at once,
with their JSON paths. The same spec once more changes nothing but clears a refusal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from trunkline.contracts import names, records, spec, spec_findings
from trunkline.contracts.errors import InvalidNameError
from trunkline.contracts.states import PipelineState
from trunkline.contracts.wording import counted
from trunkline.coordinator.core import admission, cycles, dag, jobsets

Problems = tuple[tuple[str, str], ...]

UNNAMED = "unnamed"
"""Events about specs in which no name can be read stand under this name; no pipeline may have it."""

PROBLEMS_MAX = 100
PROBLEM_MAX_CHARS = 500


@dataclass(frozen=True)
class Fresh:
    """Values that the edge made, in case they are needed."""

    set_id: str
    salt: str
    now_ns: int
    command: int = 0
    """Sequence of the published spec in the command stream; 0 for a request."""
    reprocess: str = ""
    """A salt that is to be the pipeline's, so that nothing counts as done; empty to keep what it has."""
    traceparent: str = ""
    """The `traceparent` that the spec came with."""


@dataclass(frozen=True)
class Installed:
    """What is there."""

    pipelines: Mapping[str, records.Pipeline]
    repos: Mapping[str, records.Repo]
    heads: jobsets.Heads
    local: bool
    secrets: Mapping[str, Sequence[str]] | None = None
    """The keys of each secret; None where that is not known before a pod starts."""


@dataclass(frozen=True)
class Accepted:
    """A new pipeline or a new version of one."""

    record: records.Pipeline


@dataclass(frozen=True)
class Unchanged:
    """The pipeline has this spec already; `record` differs in what is kept beside it, if at all."""

    record: records.Pipeline


@dataclass(frozen=True)
class Refused:
    """The spec was not taken."""

    problems: Problems


def accept(
    wanted: spec.PipelineSpec, installed: Installed, fresh: Fresh, *, now: bool = False
) -> Accepted | Unchanged | Refused:
    """Decide about a spec that parsed.

    Args:
        wanted: The spec.
        installed: What there is.
        fresh: Values for what is new.
        now: Whether jobs of older versions are to be killed, but for those whose work is the same: nothing
            would take their place.
    """
    current = installed.pipelines.get(wanted.name)
    problems = _problems(wanted, current, installed)
    if fresh.reprocess and wanted.salt:
        problems = (*problems, ("$.salt", "change it to run everything again, or leave it out"))
    if problems:
        return Refused(bounded(problems))
    ignored = admission.without_effect(wanted, local=installed.local)
    anew = bool(fresh.reprocess) and (current is None or current.salt != fresh.reprocess)
    if current is not None and current.spec == wanted and not anew:
        kept = msgspec.structs.replace(
            current,
            refusal=None,
            ignored=ignored,
            command=max(current.command, fresh.command),
            oldest=(current.since or current.version) if now else current.oldest,
        )
        return Unchanged(kept)
    base = current or records.Pipeline(
        name=wanted.name, state=PipelineState.RUNNING, created_ns=fresh.now_ns
    )
    stopped = base.state is PipelineState.STOPPED
    version = base.version + 1
    if base.spec is not None and same_work(base.spec, wanted) and not anew:
        base = msgspec.structs.replace(base, since=base.since or base.version)
    else:
        set_id = fresh.set_id if _all_there(wanted, installed.heads) else ""
        base = msgspec.structs.replace(base, since=version, set_id=set_id, reprocess=False)
    oldest = base.since if now else base.oldest
    return Accepted(
        msgspec.structs.replace(
            base,
            state=PipelineState.STOPPED if stopped else PipelineState.RUNNING,
            version=version,
            oldest=oldest,
            spec=wanted,
            salt=fresh.reprocess or wanted.salt or base.salt or fresh.salt,
            created_ns=base.created_ns or fresh.now_ns,
            updated_ns=fresh.now_ns,
            refusal=None,
            ignored=ignored,
            command=max(base.command, fresh.command),
            traceparent=fresh.traceparent,
        )
    )


_AROUND = (
    "parallelism_spec",
    "standby",
    "description",
    "metadata",
    "scheduling_spec",
    "speculation",
    "tolerations",
)
"""Fields that say how many workers there are, where, what they are called, and when two try one datum. Those of a worker's
resources are not among them: whoever raises a limit wants to see what was killed by it run again."""


def same_work(one: spec.PipelineSpec, other: spec.PipelineSpec) -> bool:
    """Whether two specs of a pipeline differ only in what is around the work, so that no job is due."""
    kept = {field: getattr(one, field) for field in (*_AROUND, "unused")}
    return one == msgspec.structs.replace(other, **kept)


def refuse(
    name: str, current: records.Pipeline | None, problems: Problems, fresh: Fresh
) -> records.Pipeline:
    """Return the record that shows a refusal; the spec that works is not touched by it."""
    base = current or records.Pipeline(
        name=name, state=PipelineState.REFUSED, created_ns=fresh.now_ns
    )
    told = tuple(spec_findings.Problem(*each) for each in bounded(problems))
    refusal = records.Refusal(problems=told, at_ns=fresh.now_ns)
    command = max(base.command, fresh.command)
    return msgspec.structs.replace(base, refusal=refusal, command=command)


def name_in(document: object) -> str | None:
    """Return the valid name of a pipeline that a refused document bears, or None."""
    if not isinstance(document, Mapping):
        return None
    inner = document.get("pipeline")
    name = inner.get("name") if isinstance(inner, Mapping) else document.get("name")
    if not isinstance(name, str) or name == UNNAMED:
        return None
    try:
        return names.pipeline(name)
    except InvalidNameError:
        return None


def bounded(problems: Problems) -> Problems:
    """Return problems that fit into a record and a reply, however hostile the spec was."""
    kept = tuple((path[:200], text[:PROBLEM_MAX_CHARS]) for path, text in problems[:PROBLEMS_MAX])
    if (more := len(problems) - len(kept)) > 0:
        kept += (("$", f"and {counted(more, 'more problem')}"),)
    return kept


def _problems(
    wanted: spec.PipelineSpec, current: records.Pipeline | None, installed: Installed
) -> Problems:
    found = [*admission.refusals(wanted), *admission.missing_secrets(wanted, installed.secrets)]
    name, at = wanted.name, "$.pipeline.name"
    repo = installed.repos.get(name)
    if name == UNNAMED:
        found.append((at, f"{UNNAMED!r} is reserved; choose another name"))
    if current is not None and current.state is PipelineState.DELETING:
        found.append((at, f"pipeline {name!r} is being deleted; apply it again once it is gone"))
    if repo is not None and not repo.pipeline:
        text = f"{name!r} is the name of a repo; a pipeline owns the repo of its own name, so"
        found.append((at, f"{text} choose another name"))
    ticks = {each.repo for each in spec.crons(wanted.input)}
    for at_leaf, leaf in spec.leaves(wanted.input):
        path = f"{at_leaf}.repo"
        if leaf.repo == name:
            continue
        owner = installed.pipelines.get(leaf.repo)
        made = owner is not None and owner.spec is not None
        if leaf.repo in ticks:
            found += _tick_problems(path, leaf.repo, installed, made=made)
        elif owner is not None and owner.state is PipelineState.DELETING:
            found.append((path, f"pipeline {leaf.repo!r}, whose output it is, is being deleted"))
        elif leaf.repo not in installed.repos and not made:
            remedy = "create it, or apply the pipeline of that name, and apply this spec again"
            found.append((path, f"repo {leaf.repo!r} does not exist; {remedy}"))
    if cycle := _cycle(wanted, installed):
        found.append(("$.input", f"it would close a cycle: {' -> '.join(cycle)}"))
    return tuple(found)


def _tick_problems(path: str, repo: str, installed: Installed, *, made: bool) -> Problems:
    """Return why ticks cannot be committed to a repo; one that is not there is made."""
    there = installed.repos.get(repo)
    if made or (there is not None and there.pipeline):
        text = (
            f"{repo!r} is a pipeline's output; ticks need a repo of their own: set another `repo`"
        )
        return ((path, text),)
    return ()


def _cycle(wanted: spec.PipelineSpec, installed: Installed) -> list[str]:
    """Return the cycle that a spec would close; see `cycles`."""

    def reads(name: str) -> list[str]:
        if name == wanted.name:
            return [leaf.repo for leaf in spec.inputs(wanted.input)]
        return dag.reads(installed.pipelines.get(name))

    return cycles.find(wanted.name, reads)


def _all_there(wanted: spec.PipelineSpec, heads: jobsets.Heads) -> bool:
    return all(heads.get((leaf.repo, leaf.branch)) for leaf in spec.inputs(wanted.input))
