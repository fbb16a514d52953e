"""Which jobs there must be: the closure of every commit over the DAG of pipelines.

`derive` looks at all that is there (pipelines, branch heads, jobs) and returns the jobs that are
missing, upstream ones first. It holds no memory: applied in part and derived again, it gives the
rest, so a crash between any two creations is repaired by the next round. Two rules, per pipeline:

*Roots.* A pipeline's current version must have seen every head that it reads.

1. A version that found all its inputs there when it was applied has a job set of its own
   (`set_id`), on the heads of that moment or newer ones.
2. A head that no job of this version reads gets a job whose id is the head's: so the commit and all
   that it sets off share one id. Where an older version has taken that id already (its job was
   created before the update, and waited for this commit), the id is made from the heads, the
   pipeline, its version and salt: the same in every round. Versions that differ only in what is around
   the work (`Pipeline.since`) count as one. A head whose successor a job waits for already is left to it:
   jobs finish in order, so the last one must be the one on the newest head. A job that was killed because the pipeline was stopped has
   read nothing: started again, the pipeline makes one job on the newest heads, whatever has come
   meanwhile; also where older jobs have read these heads, and what was killed was to run on them again.
3. A pipeline of several inputs may have seen each head, but not all together: one input moved while
   another was on its way. Once nothing is on its way any more, the newest job must have read just
   the heads; if it has not, one more is made. An UNRUNNABLE newest job stays the last word: parts of
   a set that has failed are not mixed with older ones. A job that somebody wanted again on older inputs
   (`Job.rerun_of`) is nobody's newest.

*Closure.* While a job has not ended badly and its output is still to come, everything downstream of
it has a job of the same id: WAITING, with `upstream` inputs that are filled in when they come. A
diamond's end so gets one job per set, since the id is the key.

An input that is made in the set is taken from the set; one that another job of the set reads is
taken at the same commit; all others at the head of their branch. Where there is no head, there is no
job yet: the commit that brings it is the root that makes one.

A job leaves WAITING only after a round in which all that `derive` said was created; so a set that
has begun is complete, except for pipelines that came later.

What is derived for a pipeline rests on the heads that it reads, its own jobs, those of the pipelines that
it reads from, and those of the sets in question (`rests_on`): so it may be derived for some pipelines
alone, if all downstream of them are among these (`dag`).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState
from trunkline.coordinator.core.graph import Node, upstream_first

Heads = Mapping[tuple[str, str], str]
"""(repo, branch) -> commit id; branches without a head are not in it."""


@dataclass(frozen=True)
class Wanted:
    """A job that must be created."""

    pipeline: str
    id: str
    order: int
    inputs: tuple[records.JobInput, ...]
    reprocess: bool = False


def record(wanted: Wanted, pipeline: records.Pipeline, now_ns: int) -> records.Job:
    """Return the job's record as it is created, with everything that it pins."""
    assert pipeline.spec is not None  # `node` left the others out
    return records.Job(
        pipeline=wanted.pipeline,
        id=wanted.id,
        version=pipeline.version,
        code_hash=spec.code_hash(pipeline.spec.transform),
        spec=pipeline.spec,
        salt=pipeline.salt,
        order=wanted.order,
        inputs=wanted.inputs,
        reprocess=wanted.reprocess,
        state=JobState.WAITING,
        created_ns=now_ns,
    )


def derive(nodes: Iterable[Node], heads: Heads, jobs: Iterable[records.Job]) -> list[Wanted]:
    """Return the jobs that are missing, in the order in which to create them."""
    plan = _Plan(nodes, heads, jobs)
    for each in upstream_first(plan.nodes):
        plan.add_roots(each)
        plan.add_closure(each)
    return plan.wanted


def rests_on(
    nodes: Iterable[Node],
    heads: Heads,
    of_pipeline: Callable[[str], Iterable[records.Job]],
    of_set: Callable[[str], Iterable[records.Job]],
) -> list[records.Job]:
    """Return the jobs that `derive` has to know for these nodes, in order.

    Args:
        nodes: Some, and all downstream of them.
        heads: Of all branches.
        of_pipeline: Jobs of a pipeline.
        of_set: Jobs with an id.
    """
    pipelines: dict[str, None] = {}
    sets: dict[str, None] = {}
    for each in nodes:
        pipelines[each.name] = None
        for leaf in each.inputs:
            pipelines[leaf.repo] = None
            sets[heads.get((leaf.repo, leaf.branch), "")] = None
    found = {(job.pipeline, job.id): job for name in pipelines for job in of_pipeline(name)}
    sets.update((job.id, None) for job in found.values() if not job.state.ended)
    for identifier in sets:
        found.update(((job.pipeline, job.id), job) for job in of_set(identifier))
    return sorted(found.values(), key=lambda job: (job.pipeline, job.order, job.id))


@dataclass(frozen=True)
class _Known:
    """A job that is there or wanted."""

    pipeline: str
    id: str
    version: int
    order: int
    inputs: tuple[records.JobInput, ...]
    output_branch: str
    state: JobState
    halted: bool = False
    rerun: bool = False

    @property
    def to_come(self) -> bool:
        return not self.state.ended and self.state is not JobState.KILLING

    @property
    def broken(self) -> bool:
        return not self.to_come and self.state is not JobState.SUCCESS


class _Plan:
    """One derivation: what is there, and what is added to it."""

    def __init__(self, nodes: Iterable[Node], heads: Heads, jobs: Iterable[records.Job]) -> None:
        self.nodes = {each.name: each for each in nodes}
        self.heads = heads
        self.wanted: list[Wanted] = []
        self._jobs: dict[str, dict[str, _Known]] = {}
        self._sets: dict[str, list[_Known]] = {}
        self._last: dict[str, int] = {}
        for job in jobs:
            self._know(_known(job))

    def add_roots(self, reader: Node) -> None:
        """Let the reader's version see each head that it reads."""
        if reader.set_id and reader.set_id not in self._jobs.get(reader.name, {}):
            own = self._own_inputs(reader)
            self._want(reader, reader.set_id, own, reprocess=reader.reprocess)
        for leaf in reader.inputs:
            head = self.heads.get((leaf.repo, leaf.branch))
            if not head or (leaf.repo, leaf.branch, head) in self._consumed(reader):
                continue
            if self._newer_is_on_the_way(reader, leaf):
                continue
            if head in self._jobs.get(reader.name, {}):
                self._want_late(reader)
            else:
                inputs, reprocess = self._inputs(reader, head, leaf), self._reprocesses(reader)
                self._want(reader, head, inputs, reprocess=reprocess)
        if self._is_halted(reader):
            self._want_late(reader)
        if len(reader.inputs) > 1 and not self._on_the_way(reader) and self._mixed(reader):
            self._want_late(reader)

    def add_closure(self, reader: Node) -> None:
        """Give the reader a job for each job upstream whose output is still to come."""
        for leaf in reader.inputs:
            upstream = self._jobs.get(leaf.repo, {}).values()
            makers = [
                each for each in upstream if each.to_come and each.output_branch == leaf.branch
            ]
            for job in sorted(makers, key=lambda each: (each.order, each.id)):
                self._want(reader, job.id, self._inputs(reader, job.id))

    def _want(
        self,
        reader: Node,
        identifier: str,
        inputs: tuple[records.JobInput, ...] | None,
        *,
        reprocess: bool = False,
    ) -> None:
        if inputs is None or identifier in self._jobs.get(reader.name, {}):
            return
        order = self._last.get(reader.name, 0) + 1
        self.wanted.append(Wanted(reader.name, identifier, order, inputs, reprocess))
        self._know(
            _Known(
                pipeline=reader.name,
                id=identifier,
                version=reader.version,
                order=order,
                inputs=inputs,
                output_branch=reader.output_branch,
                state=JobState.WAITING,
            )
        )

    def _want_late(self, reader: Node) -> None:
        """Want a job on the heads, under an id that is made of them."""
        inputs = self._own_inputs(reader)
        if inputs is not None:
            reprocess = self._reprocesses(reader)
            self._want(reader, _late_id(reader, inputs), inputs, reprocess=reprocess)

    def _is_halted(self, reader: Node) -> bool:
        """Whether the version's own set was killed with its pipeline, and no later job has taken it up."""
        own = self._jobs.get(reader.name, {}).get(reader.set_id)
        if own is None or not own.halted:
            return False
        return not any(each.order > own.order for each in self._counted(reader))

    def _reprocesses(self, reader: Node) -> bool:
        """Whether a job that is wanted now is in place of one that was to skip nothing."""
        return reader.reprocess and self._is_halted(reader)

    def _newer_is_on_the_way(self, reader: Node, leaf: spec.PfsInput) -> bool:
        """Whether a job of the reader waits for a commit that will take the place of the leaf's head.

        One more job on that head would come after it, and leave the older result on the branch.
        """
        return any(
            (each.repo, each.branch) == (leaf.repo, leaf.branch)
            and each.upstream
            and not each.commit
            for job in self._counted(reader)
            if job.to_come
            for each in job.inputs
        )

    def _counted(self, reader: Node) -> list[_Known]:
        """Return the jobs of the reader's version that have read something, or will."""
        jobs = self._jobs.get(reader.name, {}).values()
        return [job for job in jobs if job.version >= reader.oldest and not job.halted]

    def _on_the_way(self, reader: Node) -> bool:
        """Whether an input of the reader is still to come."""
        repos = {leaf.repo for leaf in reader.inputs}
        return any(job.to_come for repo in repos for job in self._jobs.get(repo, {}).values())

    def _mixed(self, reader: Node) -> bool:
        """Whether the newest job of the reader's version has read something else than the heads."""
        own = [
            job
            for job in self._jobs.get(reader.name, {}).values()
            if job.version >= reader.oldest and not job.rerun
        ]
        newest = max(own, key=lambda each: each.order, default=None)
        heads = self._own_inputs(reader)
        if newest is None or heads is None or newest.state is JobState.UNRUNNABLE:
            return False
        read = [each.commit or newest.id for each in newest.inputs]
        return read != [each.commit for each in heads]

    def _know(self, job: _Known) -> None:
        self._jobs.setdefault(job.pipeline, {})[job.id] = job
        self._sets.setdefault(job.id, []).append(job)
        self._last[job.pipeline] = max(self._last.get(job.pipeline, 0), job.order)

    def _consumed(self, reader: Node) -> set[tuple[str, str, str]]:
        """Return what jobs of the reader's version read; an output to come bears the job's id."""
        return {
            (each.repo, each.branch, each.commit or job.id)
            for job in self._counted(reader)
            for each in job.inputs
        }

    def _own_inputs(self, reader: Node) -> tuple[records.JobInput, ...] | None:
        """Return the inputs of a set that begins here: the heads, or None if one is missing."""
        found = [self._at_head(leaf) for leaf in reader.inputs]
        complete = tuple(each for each in found if each is not None)
        return complete if len(complete) == len(found) else None

    def _inputs(
        self, reader: Node, identifier: str, root: spec.PfsInput | None = None
    ) -> tuple[records.JobInput, ...] | None:
        """Return the inputs of the reader's job in a set; None if there can be no such job."""
        found: list[records.JobInput] = []
        for leaf in reader.inputs:
            maker = self._jobs.get(leaf.repo, {}).get(identifier)
            one: records.JobInput | None
            if leaf is root or maker is None or maker.output_branch != leaf.branch:
                one = self._in_set(leaf, identifier) or self._at_head(leaf)
            elif maker.broken:
                one = None
            else:
                made = maker.state is JobState.SUCCESS
                one = _input(leaf, identifier if made else "", upstream=True)
            if one is None:
                return None
            found.append(one)
        return tuple(found)

    def _in_set(self, leaf: spec.PfsInput, identifier: str) -> records.JobInput | None:
        """Return the leaf at the commit at which another job of the set reads its branch."""
        for job in self._sets.get(identifier, []):
            for each in job.inputs:
                if (each.repo, each.branch) == (leaf.repo, leaf.branch) and not each.upstream:
                    return _input(leaf, each.commit)
        return None

    def _at_head(self, leaf: spec.PfsInput) -> records.JobInput | None:
        head = self.heads.get((leaf.repo, leaf.branch))
        return _input(leaf, head) if head else None


def reading(jobs: Iterable[records.Job], repo: str, commit: str) -> records.Job | None:
    """Return the job of a pipeline that runs on a commit: of its id, or the first one that reads it.

    Where that was run again, on the very same commits, it is the newest run: whoever asks after a rerun, or
    after a new version, means that one.

    Args:
        jobs: Of one pipeline, in order.
        repo: Of the commit.
        commit: Its id; of an output that is still to come, that of the job that makes it.
    """
    reads = [job for job in jobs if (repo, commit) in _read(job)]
    first = next((job for job in reads if job.id == commit), reads[0] if reads else None)
    if first is None:
        return None
    again = [job for job in reads if job.order >= first.order and _read(job) == _read(first)]
    return max(again, key=lambda job: job.order)


def _read(job: records.Job) -> list[tuple[str, str]]:
    return [(each.repo, each.commit or job.id) for each in job.inputs]


def _late_id(reader: Node, inputs: Iterable[records.JobInput]) -> str:
    """Return the id of a job on heads whose own ids other jobs of the reader have."""
    commits = (each.commit for each in inputs)
    again = (str(reader.starts),) if reader.starts else ()
    parts = (reader.name, str(reader.oldest), reader.salt, *again, *commits)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _known(job: records.Job) -> _Known:
    return _Known(
        pipeline=job.pipeline,
        id=job.id,
        version=job.version,
        order=job.order,
        inputs=job.inputs,
        output_branch=job.spec.output_branch,
        state=job.state,
        halted=job.halted,
        rerun=bool(job.rerun_of),
    )


def _input(leaf: spec.PfsInput, commit: str, *, upstream: bool = False) -> records.JobInput:
    return records.JobInput(
        name=leaf.name or leaf.repo,
        repo=leaf.repo,
        branch=leaf.branch,
        commit=commit,
        upstream=upstream,
    )
