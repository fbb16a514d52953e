"""Jobs are derived where something has changed, and come out as if all had been looked at."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import counting
from tests.support.jobs import CLOCK
from tests.support.memory import tables

from trunkline.bus.ports import Entry
from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState, PipelineState
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.core import jobsets, pipelines, readiness
from trunkline.coordinator.core.pipelines import Fresh
from trunkline.coordinator.core.readiness import Ready
from trunkline.coordinator.jobs import settled
from trunkline.coordinator.tables import branch_key, job_key, version_key

SOURCES = ("in", "side")
NAMES = tuple(f"p{number}" for number in range(6))


def pipeline(name: str, *reads: str, **fields: Any) -> records.Pipeline:
    leaves = [spec.Input(pfs=spec.PfsInput(repo=r, name=r, glob="/*")) for r in reads]
    whole = leaves[0] if len(leaves) == 1 else spec.Input(cross=tuple(leaves))
    wanted = spec.PipelineSpec(name=name, transform=spec.Transform(cmd=("true",)), input=whole)
    return records.Pipeline(
        name=name, state=PipelineState.RUNNING, version=1, spec=wanted, salt="s", **fields
    )


class Installed:
    """What a coordinator knows, and what it makes of that; nothing is stored."""

    def __init__(self) -> None:
        self.catalog = Catalog(tables(), CLOCK, local=True)
        self.revision = 0

    def _entry(self, key: str, value: Any) -> Entry[Any]:
        self.revision += 1
        return Entry(key=key, value=value, revision=self.revision)

    def put(self, record: records.Pipeline) -> None:
        self.catalog.pipelines.take(self._entry(version_key(record.name, record.version), record))
        self.catalog.pipelines.take(self._entry(record.name, record))

    def repo(self, name: str) -> None:
        record = records.Repo(name=name, created_ns=1)
        self.catalog.repos.take(self._entry(name, record))

    def drop(self, name: str) -> None:
        for each in self.catalog.jobs.list(name):
            self.catalog.jobs.mirror.take(self._entry(job_key(name, each.id), None))
        self.catalog.pipelines.take(self._entry(name, None))

    def commit(self, repo: str, commit: str) -> None:
        branch = records.Branch(repo=repo, name="master", head=commit)
        self.catalog.branches.take(self._entry(branch_key(repo, "master"), branch))

    def change(self, job: records.Job, **fields: Any) -> None:
        changed = msgspec.structs.replace(job, **fields)
        self.catalog.jobs.mirror.take(self._entry(job_key(job.pipeline, job.id), changed))

    def end_one(self, pick: int, state: JobState) -> None:
        jobs = self.catalog.jobs
        waiting = [each for each in jobs.list() if each.state is JobState.WAITING]
        ready = [each for each in waiting if isinstance(readiness.advance(each, jobs.known), Ready)]
        if ready:
            one = ready[pick % len(ready)]
            self.change(one, state=state, compacted=True)
            if state is JobState.SUCCESS:
                self.commit(one.pipeline, one.id)

    def derive(self) -> None:
        catalog = self.catalog
        nodes, heads = catalog.dag.due(catalog.dag.take_marks()), catalog.heads()
        known = jobsets.rests_on(nodes, heads, catalog.jobs.list, catalog.jobs.of_set)
        for each in jobsets.derive(nodes, heads, known):
            self.change(jobsets.record(each, catalog.dag.pipelines[each.pipeline], 0))

    def missing(self) -> list[jobsets.Wanted]:
        """Return what a look at everything would still want."""
        catalog = self.catalog
        return jobsets.derive(catalog.dag.nodes.values(), catalog.heads(), catalog.jobs.list())


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(["apply", "apply", "commit", "end", "end", "fail", "stop", "drop"]))
    number = draw(st.integers(0, 20))
    at = draw(st.integers(0, len(NAMES) - 1))
    upstream = st.sampled_from([*SOURCES, *NAMES[:at]])
    reads = draw(st.lists(upstream, min_size=1, max_size=3, unique=True))
    return kind, (number, NAMES[at], reads)


@given(st.lists(changes(), min_size=5, max_size=30), st.data())
@settings(max_examples=80, deadline=None)
def test_what_is_derived_after_each_change_is_all_that_is_missing(
    history: list[tuple[str, Any]], data: st.DataObject
) -> None:
    world = Installed()
    known = world.catalog.pipelines
    for turn, (kind, (number, name, reads)) in enumerate(history):
        found = known.get(name)
        match kind:
            case "apply":
                version = found.version + 1 if found else 1
                all_there = all((repo, "master") in world.catalog.heads() for repo in reads)
                own = f"{turn:031x}a" if all_there and number % 2 else ""
                record = pipeline(name, *reads, set_id=own)
                world.put(msgspec.structs.replace(record, version=version))
            case "commit":
                world.commit(SOURCES[number % 2], f"{turn:032x}")
            case "end" | "fail":
                state = JobState.SUCCESS if kind == "end" else JobState.FAILURE
                world.end_one(number, state)
            case "stop" if found:
                stopped = found.state is PipelineState.STOPPED
                other = PipelineState.RUNNING if stopped else PipelineState.STOPPED
                world.put(msgspec.structs.replace(found, state=other))
            case "drop" if found and all(map(settled, world.catalog.jobs.list(name))):
                world.drop(name)
        if data.draw(st.booleans()):
            world.derive()
            assert world.missing() == []


def one_more(world: Installed, name: str) -> None:
    """Do what the coordinator decides about one more spec, and of an end of its job."""
    wanted = pipeline(name, "in").spec
    assert wanted is not None
    fresh = Fresh(set_id=f"{world.revision:032x}", salt="s", now_ns=1)
    taken = pipelines.accept(wanted, world.catalog.installed(), fresh)
    assert isinstance(taken, pipelines.Accepted)
    world.put(taken.record)
    world.derive()
    (job,) = world.catalog.jobs.unsettled(name)
    world.change(job, state=JobState.SUCCESS, compacted=True)
    world.commit(name, job.id)
    world.derive()


def cost_among(many: int) -> int:
    world = Installed()
    world.repo("in")
    world.commit("in", "f" * 32)
    for number in range(many):
        one_more(world, f"p{number}")
    with counting.operations() as cost:
        one_more(world, "another")
    return cost.count


def test_a_spec_among_a_thousand_pipelines_costs_what_it_costs_among_ten() -> None:
    assert cost_among(1000) < 1.1 * cost_among(10)
