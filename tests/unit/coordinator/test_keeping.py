"""Which records may go."""

import random
from collections.abc import Sequence

import msgspec
import pytest

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.core import graph, jobsets, keeping, readiness
from trunkline.coordinator.core.graph import Node

ENDS = (JobState.SUCCESS, JobState.SUCCESS, JobState.FAILURE, JobState.KILLED)


def commit(identifier: str, parent: str = "", created_ns: int = 0) -> records.Commit:
    return records.Commit(
        id=identifier,
        repo="in",
        branch="master",
        manifest="",
        files=0,
        size=0,
        created_ns=created_ns,
        parent=parent,
    )


def chain(*identifiers: str) -> dict[str, records.Commit]:
    parents = ("", *identifiers)
    return {each: commit(each, parent) for each, parent in zip(identifiers, parents, strict=False)}


def spare(commits: dict[str, records.Commit], *heads: str, **rules: int) -> list[str]:
    read = keeping.Read({"in": {"read"}, "other": commits}, frozenset({"made"}))
    found = keeping.spare_commits(commits, heads, read, **{"keep": 0, "before_ns": 1, **rules})
    return [each.id for each in found]


def test_all_that_a_branch_leads_to_is_kept_unless_a_number_is_set():
    commits = chain("a", "b", "c", "d")
    assert spare(commits, "d") == []
    assert spare(commits, "b") == ["c", "d"]
    assert spare(commits) == ["a", "b", "c", "d"]
    assert spare(commits, "d", keep=2) == ["a", "b"]
    assert spare(commits, "d", "b", keep=1) == ["a", "c"]


def test_a_commit_that_is_young_or_read_is_kept():
    assert spare({"a": commit("a", created_ns=1)}) == []
    assert spare({"read": commit("read")}) == []
    assert spare({"made": commit("made")}) == []


class Dag:
    """Pipelines over two repos, with commits that come and jobs that end, as the rounds make them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.heads: dict[tuple[str, str], str] = {}
        self.jobs: list[records.Job] = []
        self.pipelines = {
            name: self.pipeline(name, reads)
            for name, reads in {"x": "a", "y": "ab", "z": "xy", "w": "xb"}.items()
        }

    def pipeline(self, name: str, reads: str) -> records.Pipeline:
        leaves = tuple(spec.Input(pfs=spec.PfsInput(repo=r, name=r, glob="/")) for r in reads)
        return records.Pipeline(
            name=name,
            state=PipelineState.RUNNING,
            version=1,
            spec=spec.PipelineSpec(
                name=name,
                transform=spec.Transform(cmd=("true",)),
                input=spec.Input(cross=leaves),
            ),
        )

    def nodes(self) -> list[Node]:
        return [node for each in self.pipelines.values() if (node := graph.node(each))]

    def identifier(self) -> str:
        return f"{self.chance.getrandbits(128):032x}"

    def wanted(self, jobs: Sequence[records.Job]) -> list[tuple[str, str]]:
        return [(each.pipeline, each.id) for each in jobsets.derive(self.nodes(), self.heads, jobs)]

    def round(self) -> None:
        for wanted in jobsets.derive(self.nodes(), self.heads, self.jobs):
            self.jobs.append(jobsets.record(wanted, self.pipelines[wanted.pipeline], 0))
        by_key = {(each.pipeline, each.id): each for each in self.jobs}
        for at, job in enumerate(self.jobs):
            if job.state is not JobState.WAITING:
                continue
            state, inputs = JobState.WAITING, job.inputs
            match readiness.advance(job, lambda *key: by_key.get(key)):
                case readiness.Ready(found):
                    state, inputs = JobState.LISTING, found
                case readiness.Unrunnable():
                    state = JobState.UNRUNNABLE
                case readiness.Waits():
                    pass
            self.jobs[at] = msgspec.structs.replace(job, state=state, inputs=inputs)

    def halts(self, state: JobState) -> bool:
        return state is JobState.KILLED and self.chance.random() < 0.5

    def act(self) -> None:
        what = self.chance.random()
        working = [at for at, each in enumerate(self.jobs) if each.state is JobState.LISTING]
        if working and what < 0.7:
            at = self.chance.choice(working)
            job = self.jobs[at]
            state = self.chance.choice(ENDS)
            output = job.id if state is JobState.SUCCESS else ""
            self.jobs[at] = msgspec.structs.replace(
                job, state=state, output=output, compacted=True, halted=self.halts(state)
            )
            if output:
                self.heads[job.pipeline, "master"] = output
        elif what < 0.78 and self.jobs:
            old = self.chance.choice([each for each in self.jobs if each.state.ended] or self.jobs)
            order = max(each.order for each in self.jobs if each.pipeline == old.pipeline) + 1
            again = {"id": self.identifier(), "order": order, "rerun_of": old.id, "output": ""}
            if old.state.ended and all(each.commit for each in old.inputs):
                self.jobs.append(msgspec.structs.replace(old, state=JobState.LISTING, **again))
        elif what < 0.95:
            self.heads[self.chance.choice("ab"), "master"] = self.identifier()
        else:
            name = self.chance.choice("xyzw")
            pipeline = self.pipelines[name]
            self.pipelines[name] = msgspec.structs.replace(
                pipeline,
                version=pipeline.version + 1,
                set_id=self.chance.choice(("", self.identifier())),
            )
        self.round()

    def take_away(self, keep: int) -> int:
        unsettled = [each for each in self.jobs if not each.state.ended]
        asked_for = keeping.sets(unsettled, self.pipelines.values(), self.heads)
        gone = 0
        for name in self.pipelines:
            settled = [each for each in self.jobs if each.pipeline == name and each.state.ended]
            for each in keeping.spare_jobs(settled, self.heads, asked_for, keep):
                self.jobs.remove(each)
                gone += 1
        return gone


@pytest.mark.parametrize("seed", range(20))
def test_no_job_is_wanted_again_that_was_taken_away(seed: int):
    dag = Dag(random.Random(seed))
    gone = 0
    for _ in range(60):
        dag.act()
        before = dag.wanted(dag.jobs)
        gone += dag.take_away(keep=dag.chance.choice((1, 1, 5)))
        assert dag.wanted(dag.jobs) == before
    assert gone > 5
