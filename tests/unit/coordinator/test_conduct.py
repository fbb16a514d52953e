"""Pipelines that are stopped, started and run again, and which jobs there must be then."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.core import conduct, graph, jobsets, readiness
from trunkline.coordinator.core.conduct import Doomed, NotNowError
from trunkline.coordinator.core.pipelines import Accepted, Fresh, Installed, accept
from trunkline.coordinator.core.readiness import Ready, Unrunnable

REPOS = {name: records.Repo(name=name, created_ns=0) for name in ("in", "side")}
A, X, Y, Z = (letter * 32 for letter in "a123")


def pipeline(name: str = "words", *reads: str, **fields: object) -> records.Pipeline:
    leaves = [spec.Input(pfs=spec.PfsInput(repo=r, name=r, glob="/*")) for r in reads or ("in",)]
    whole = leaves[0] if len(leaves) == 1 else spec.Input(cross=tuple(leaves))
    wanted = spec.PipelineSpec(name=name, transform=spec.Transform(cmd=("true",)), input=whole)
    made = records.Pipeline(
        name=name, state=PipelineState.RUNNING, version=1, spec=wanted, salt="s"
    )
    return msgspec.structs.replace(made, **fields)


def advance(job: records.Job, jobs: Mapping[tuple[str, str], records.Job]) -> object:
    return readiness.advance(job, lambda *key: jobs.get(key))


class World:
    """What is stored, as the edge would keep it."""

    def __init__(self, *pipelines: records.Pipeline) -> None:
        self.pipelines = {each.name: each for each in pipelines}
        self.heads: dict[tuple[str, str], str] = {}
        self.jobs: dict[tuple[str, str], records.Job] = {}

    def commit(self, repo: str, commit: str) -> None:
        self.heads[repo, "master"] = commit
        self.round()

    def round(self) -> None:
        """Do what a round of the coordinator does."""
        nodes = [node for each in self.pipelines.values() if (node := graph.node(each))]
        for each in jobsets.derive(nodes, self.heads, self.jobs.values()):
            assert (each.pipeline, each.id) not in self.jobs
            made = jobsets.record(each, self.pipelines[each.pipeline], 0)
            self.jobs[each.pipeline, each.id] = made
        for doomed in conduct.doomed(self.pipelines, list(self.jobs.values())):
            self.end(doomed.pipeline, doomed.id, JobState.KILLED, halted=doomed.halted)
        for job in [each for each in self.jobs.values() if each.state is JobState.WAITING]:
            if isinstance(advance(job, self.jobs), Unrunnable):
                self.end(job.pipeline, job.id, JobState.UNRUNNABLE)

    def end(self, name: str, job: str, state: JobState, **fields: object) -> None:
        changed = msgspec.structs.replace(self.jobs[name, job], state=state, **fields)
        self.jobs[name, job] = changed
        if state is JobState.SUCCESS:
            self.heads[name, "master"] = job

    def finish_one(self, pick: int) -> bool:
        """Let one job succeed that may; False when there is none."""
        waiting = [each for each in self.jobs.values() if each.state is JobState.WAITING]
        ready = [
            (each, found.inputs)
            for each in waiting
            if all(each.order <= one.order for one in waiting if one.pipeline == each.pipeline)
            and isinstance(found := advance(each, self.jobs), Ready)
        ]
        if ready:
            one, inputs = ready[pick % len(ready)]
            self.end(one.pipeline, one.id, JobState.SUCCESS, inputs=inputs)
            self.round()
        return bool(ready)

    def stop(self, name: str) -> None:
        self.pipelines[name] = conduct.stopped(self.pipelines[name])
        self.round()

    def start(self, name: str) -> None:
        self.pipelines[name] = conduct.started(self.pipelines[name])
        self.round()

    def apply(self, name: str, set_id: str, *, now: bool = False, **fields: object) -> None:
        """Let a pipeline's spec be changed."""
        current = self.pipelines[name]
        assert current.spec is not None
        wanted = msgspec.structs.replace(current.spec, **fields)
        there = Installed(pipelines=self.pipelines, repos=REPOS, heads=self.heads, local=True)
        decision = accept(wanted, there, Fresh(set_id=set_id, salt="", now_ns=0), now=now)
        assert isinstance(decision, Accepted)
        self.pipelines[name] = decision.record
        self.round()

    def read(self, name: str) -> list[list[str]]:
        """Return what each job of a pipeline that was not killed read, oldest first."""
        found = sorted(self.jobs.values(), key=lambda job: job.order)
        return [
            [each.commit or job.id for each in job.inputs]
            for job in found
            if job.pipeline == name and job.state is not JobState.KILLED
        ]


def test_a_stopped_pipelines_jobs_are_killed_and_no_new_ones_are_made() -> None:
    world = World(pipeline())
    world.commit("in", X)
    world.stop("words")
    assert world.jobs["words", X].state is JobState.KILLED
    assert world.jobs["words", X].halted
    world.commit("in", Y)
    assert list(world.jobs) == [("words", X)]


def test_a_start_catches_up_on_what_came_meanwhile_with_one_job_on_the_newest_heads() -> None:
    world = World(pipeline("words", "in", "side"))
    world.commit("side", A)
    world.commit("in", X)
    assert world.finish_one(0)
    world.stop("words")
    for commit in (Y, Z):
        world.commit("in", commit)
    world.commit("side", Y)
    world.start("words")
    assert world.read("words")[1:] == [[Z, Y]]


def test_a_start_takes_up_what_the_stop_has_killed_as_often_as_it_happens() -> None:
    world = World(pipeline())
    world.commit("in", X)
    for _ in range(3):
        world.stop("words")
        world.start("words")
        assert world.read("words") == [[X]]
    assert len(world.jobs) == 4


@pytest.mark.parametrize("meanwhile", [(), (Y,)])
@pytest.mark.parametrize("reprocess", [False, True])
def test_a_start_takes_up_a_rerun_that_the_stop_has_killed(
    meanwhile: Sequence[str], *, reprocess: bool
) -> None:
    """1. A head is read. 2. The pipeline runs again on it, and is stopped. 3. It starts: one job.

    None was made where nothing had come meanwhile, and one that skipped what is done, where something had.
    """
    world = World(pipeline())
    world.commit("in", X)
    assert world.finish_one(0)
    again = conduct.run_again(world.pipelines["words"], world.heads, A, reprocess=reprocess)
    world.pipelines["words"] = again
    world.round()
    assert world.jobs["words", A].reprocess == reprocess
    for commit in meanwhile:
        world.stop("words")
        world.commit("in", commit)
        world.start("words")
    for _ in range(3):
        world.stop("words")
        world.start("words")
        newest = max(world.jobs.values(), key=lambda job: job.order)
        assert (newest.state, newest.reprocess) == (JobState.WAITING, reprocess)
        assert world.read("words") == [[X], [*meanwhile, X][:1]]
    assert world.finish_one(0)
    jobs = len(world.jobs)
    world.round()
    world.stop("words")
    world.start("words")
    assert len(world.jobs) == jobs


def test_a_start_with_nothing_new_makes_no_job() -> None:
    world = World(pipeline())
    world.commit("in", X)
    assert world.finish_one(0)
    world.stop("words")
    world.start("words")
    world.start("words")
    assert list(world.jobs) == [("words", X)]


def test_what_comes_from_upstream_only_after_the_start_is_not_forgotten() -> None:
    """Its job was killed while it waited for it, and bears the id of the set."""
    world = World(pipeline("words"), pipeline("totals", "words"))
    world.commit("in", X)
    world.stop("totals")
    world.start("totals")
    assert world.read("totals") == []
    assert world.finish_one(0)
    assert world.read("totals") == [[X]]


def test_a_job_that_somebody_stopped_is_not_taken_up_again() -> None:
    world = World(pipeline())
    world.commit("in", X)
    world.end("words", X, JobState.KILLED)
    world.stop("words")
    world.start("words")
    assert list(world.jobs) == [("words", X)]


def test_a_version_that_replaces_older_ones_kills_only_their_jobs() -> None:
    old = jobsets.record(jobsets.Wanted("words", X, 1, ()), pipeline(), 0)
    jobs = [
        old,
        msgspec.structs.replace(old, id=Y, state=JobState.RUNNING),
        msgspec.structs.replace(old, id=Z, state=JobState.MERGING, committing=True),
        msgspec.structs.replace(old, id=A, version=2),
    ]
    there = {"words": pipeline(version=2, oldest=2)}
    reason = "version 2 of the pipeline has replaced it"
    assert conduct.doomed(there, jobs) == [Doomed("words", X, reason), Doomed("words", Y, reason)]
    assert conduct.doomed({"words": pipeline(version=2)}, jobs) == []


def test_a_rerun_is_one_more_job_on_the_heads_and_the_same_request_makes_no_second() -> None:
    world = World(pipeline())
    world.commit("in", X)
    assert world.finish_one(0)
    for _ in range(2):
        again = conduct.run_again(world.pipelines["words"], world.heads, A, reprocess=True)
        world.pipelines["words"] = again
        world.round()
    assert [(job.id, job.reprocess) for job in world.jobs.values()] == [(X, False), (A, True)]
    assert world.read("words") == [[X], [X]]


def test_a_rerun_of_a_job_reads_what_that_one_read_and_what_is_downstream_follows() -> None:
    world = World(pipeline("words"), pipeline("totals", "words"))
    for commit in (X, Y):
        world.commit("in", commit)
        while world.finish_one(0):
            continue
    old = world.jobs["words", X]
    now = msgspec.structs.replace(world.pipelines["words"], version=2, salt="t")
    job = conduct.job_again(now, old, world.jobs.values(), A, 5, reprocess=False)
    assert (job.rerun_of, job.order, job.version, job.salt) == (X, 3, 2, "t")
    assert [each.commit for each in job.inputs] == [X]
    world.jobs["words", A] = job
    world.round()
    assert ("totals", A) in world.jobs
    while world.finish_one(0):
        continue
    assert world.read("words") == [[X], [Y], [X]]
    assert world.read("totals")[-1] == [A]


def test_what_cannot_run_again_is_refused_with_what_to_do() -> None:
    def run(there: records.Pipeline, job: records.Job | None) -> None:
        if job is None:
            conduct.run_again(there, {}, A, reprocess=False)
        else:
            conduct.job_again(there, job, [], A, 0, reprocess=False)

    def problem(there: records.Pipeline, job: records.Job | None = None) -> str:
        with pytest.raises(NotNowError) as refused:
            run(there, job)
        return str(refused.value)

    read = records.JobInput(name="in", repo="in", branch="master", commit=X)
    job = jobsets.record(jobsets.Wanted("words", X, 1, (read,)), pipeline(), 0)
    ended = msgspec.structs.replace(job, state=JobState.FAILURE)
    never = (records.JobInput(name="in", repo="in", branch="master", upstream=True),)
    assert problem(pipeline(state=PipelineState.STOPPED)).endswith("is stopped: start it first")
    assert "no commit on its input in@master" in problem(pipeline())
    assert "is being deleted" in problem(pipeline(state=PipelineState.DELETING))
    assert "never had a spec" in problem(pipeline(state=PipelineState.REFUSED, spec=None))
    assert "is WAITING: stop it, or wait" in problem(pipeline(), job)
    assert "other inputs than version 1" in problem(pipeline("words", "else"), ended)
    starved = msgspec.structs.replace(ended, inputs=never, state=JobState.UNRUNNABLE)
    assert "run that one again" in problem(pipeline(), starved)


@st.composite
def dags(draw: st.DrawFn) -> list[records.Pipeline]:
    found: list[records.Pipeline] = []
    for position in range(draw(st.integers(1, 5))):
        others = ["in", "side", *(each.name for each in found)]
        reads = draw(st.lists(st.sampled_from(others), min_size=1, max_size=3, unique=True))
        found.append(pipeline(f"p{position}", *reads))
    return found


deeds = st.lists(
    st.tuples(
        st.sampled_from(["commit", "stop", "start", "finish", "change", "scale"]),
        st.integers(0, 20),
    ),
    max_size=25,
)


def do(world: World, deed: str, pick: int, name: str, number: int) -> None:
    match deed:
        case "commit":
            world.commit(("in", "side")[pick % 2], f"{number:032x}")
        case "stop":
            world.stop(name)
        case "start":
            world.start(name)
        case "change":
            world.apply(name, f"{number:032x}", now=pick % 2 > 0, datum_tries=100 + number)
        case "scale":
            constant = spec.Parallelism(constant=100 + number)
            world.apply(name, f"{number:032x}", now=pick % 2 > 0, parallelism_spec=constant)
        case _:
            world.finish_one(pick)


@given(dags(), deeds)
@settings(max_examples=100, deadline=None)
def test_whoever_was_stopped_or_changed_when_in_the_end_all_have_read_the_newest_inputs(
    there: list[records.Pipeline], some: Sequence[tuple[str, int]]
) -> None:
    world = World(*there)
    for number, (deed, pick) in enumerate(some):
        do(world, deed, pick, there[pick % len(there)].name, number)
    for each in there:
        world.start(each.name)
    while world.finish_one(0):
        continue
    for each in there:
        assert each.spec is not None
        now = [world.heads.get((leaf.repo, leaf.branch)) for leaf in spec.inputs(each.spec.input)]
        if all(now):
            assert world.read(each.name)[-1] == now
