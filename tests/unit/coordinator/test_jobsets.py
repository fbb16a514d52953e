"""Which jobs there must be. Inputs have many leaves here, whatever the spec can say."""

from collections.abc import Mapping, Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.contracts import records, spec
from trunkline.contracts.states import JobState
from trunkline.coordinator.core import cycles, jobsets, readiness
from trunkline.coordinator.core.graph import Node
from trunkline.coordinator.core.readiness import Ready, Unrunnable, Waits

A, B, X, Y, W, S = (letter * 32 for letter in "abc123")


def node(name: str, *reads: str, version: int = 1, set_id: str = "") -> Node:
    leaves = tuple(spec.PfsInput(repo=repo, name=repo, glob="/*") for repo in reads)
    return Node(name=name, version=version, inputs=leaves, set_id=set_id)


def job(
    wanted: jobsets.Wanted, version: int = 1, state: JobState = JobState.WAITING
) -> records.Job:
    some_spec = spec.PipelineSpec(
        name=wanted.pipeline,
        transform=spec.Transform(cmd=("true",)),
        input=spec.Input(pfs=spec.PfsInput(repo="in", glob="/")),
    )
    return records.Job(
        pipeline=wanted.pipeline,
        id=wanted.id,
        version=version,
        code_hash="",
        spec=some_spec,
        salt="",
        order=wanted.order,
        inputs=wanted.inputs,
        state=state,
        created_ns=0,
    )


def ended(one: records.Job, state: JobState = JobState.SUCCESS) -> records.Job:
    return msgspec.structs.replace(one, state=state)


def keys(wanted: Sequence[jobsets.Wanted]) -> list[tuple[str, str]]:
    return [(each.pipeline, each.id) for each in wanted]


def heads(**commits: str) -> dict[tuple[str, str], str]:
    return {(repo, "master"): commit for repo, commit in commits.items()}


def advance(job: records.Job, jobs: Mapping[tuple[str, str], records.Job]) -> object:
    return readiness.advance(job, lambda *key: jobs.get(key))


def test_a_commit_sets_off_the_whole_chain_upstream_first():
    wanted = jobsets.derive([node("z", "y"), node("y", "in")], heads(**{"in": X}), [])
    assert keys(wanted) == [("y", X), ("z", X)]
    assert [(each.commit, each.upstream) for each in wanted[0].inputs] == [(X, False)]
    assert [(each.commit, each.upstream) for each in wanted[1].inputs] == [("", True)]


def test_a_diamonds_end_has_one_job_per_set_that_waits_for_both_sides():
    diamond = [node("end", "left", "right"), node("left", "top"), node("right", "top")]
    nodes = [*diamond, node("top", "in")]
    wanted = jobsets.derive(nodes, heads(**{"in": X}), [])
    assert keys(wanted) == [("top", X), ("left", X), ("right", X), ("end", X)]
    assert all(each.upstream for each in wanted[3].inputs)
    jobs = {(each.pipeline, each.id): job(each) for each in wanted}
    jobs["left", X] = ended(jobs["left", X])
    assert advance(jobs["end", X], jobs) == Waits()
    assert jobsets.derive(nodes, heads(**{"in": X, "left": X}), jobs.values()) == []
    jobs["right", X] = ended(jobs["right", X])
    ready = advance(jobs["end", X], jobs)
    assert isinstance(ready, Ready)
    assert [each.commit for each in ready.inputs] == [X, X]


def test_who_reads_the_source_and_its_output_waits_for_the_output_of_the_same_set():
    nodes = [node("words", "in"), node("joined", "in", "words")]
    wanted = jobsets.derive(nodes, heads(**{"in": X, "words": W}), [])
    joined = next(each for each in wanted if each.pipeline == "joined")
    assert [(each.repo, each.commit, each.upstream) for each in joined.inputs] == [
        ("in", X, False),
        ("words", "", True),
    ]


def test_without_a_head_on_every_input_there_is_no_job():
    assert jobsets.derive([node("y", "in", "other")], heads(**{"in": X}), []) == []


def test_the_commit_that_completes_the_inputs_is_the_set():
    wanted = jobsets.derive([node("y", "in", "other")], heads(**{"in": X, "other": Y}), [])
    assert len(wanted) == 1
    assert {each.commit for each in wanted[0].inputs} == {X, Y}


def test_a_new_version_runs_on_the_heads_that_are_there_under_an_id_of_its_own():
    first = jobsets.derive([node("y", "in")], heads(**{"in": X}), [])
    jobs = [ended(job(first[0]))]
    updated = [node("y", "in", version=2, set_id=S), node("z", "y")]
    wanted = jobsets.derive(updated, heads(**{"in": X, "y": X}), jobs)
    assert keys(wanted) == [("y", S), ("z", X), ("z", S)]
    assert [each.order for each in wanted] == [2, 1, 2]


def test_a_commit_that_an_older_versions_job_waits_for_is_run_by_the_new_version_too():
    """The order that once left the old version's result as the last word.

    1. The upstream job of set X runs; `z` version 1 waits for it.
    2. `z` is updated: version 2 runs on the head of that moment, W, as set S.
    3. Upstream commits X, `z` version 1 runs on it; X is new to version 2.
    """
    upstream = job(jobsets.Wanted("y", X, 1, ()), state=JobState.RUNNING)
    old = jobsets.derive([node("z", "y")], heads(y=W), [upstream])
    assert keys(old) == [("z", W), ("z", X)]
    waiting = [job(each) for each in old]
    nodes = [node("z", "y", version=2, set_id=S)]
    own = jobsets.derive(nodes, heads(y=W), [upstream, *waiting])
    assert keys(own) == [("z", S)]
    jobs = [ended(upstream), *waiting, job(own[0], version=2)]
    late = jobsets.derive(nodes, heads(y=X), jobs)
    assert len(late) == 1
    assert late[0].id not in (X, S, W)
    assert late[0].inputs[0].commit == X
    assert late[0].order == 4
    assert jobsets.derive(nodes, heads(y=X), [*jobs, job(late[0], version=2)]) == []


def test_a_pipeline_that_comes_while_its_upstream_runs_waits_for_that_output():
    upstream = job(jobsets.Wanted("y", X, 1, ()), state=JobState.RUNNING)
    wanted = jobsets.derive([node("z", "y")], {}, [upstream])
    assert keys(wanted) == [("z", X)]


def test_nothing_waits_for_an_output_that_will_not_come():
    for state in (JobState.FAILURE, JobState.KILLED, JobState.UNRUNNABLE, JobState.KILLING):
        upstream = job(jobsets.Wanted("y", X, 1, ()), state=state)
        assert jobsets.derive([node("z", "y")], {}, [upstream]) == []


def test_a_failed_upstream_job_makes_its_readers_unrunnable_and_is_named():
    nodes = [node("y", "in"), node("z", "y")]
    y, z = (job(each) for each in jobsets.derive(nodes, heads(**{"in": X}), []))
    failed = msgspec.structs.replace(y, state=JobState.FAILURE, reason="2 datums failed")
    found = advance(z, {("y", X): failed, ("z", X): z})
    assert isinstance(found, Unrunnable)
    assert f"y@{X} is FAILURE: 2 datums failed" in found.reason
    assert isinstance(advance(z, {("z", X): z}), Unrunnable)


def test_however_deep_a_dag_is_a_job_names_the_one_above_and_the_one_that_failed():
    last, wide = 20, ("a", "b")
    nodes = [node(f"p0{each}", "in") for each in wide]
    for at in range(1, last + 1):
        nodes += [node(f"p{at}{each}", *(f"p{at - 1}{one}" for one in wide)) for each in wide]
    jobs = {}
    for at, each in enumerate(jobsets.derive(nodes, heads(**{"in": X}), [])):
        state = JobState.FAILURE if each.pipeline.startswith("p0") else JobState.WAITING
        made = msgspec.structs.replace(job(each), state=state, reason="2 datums failed")
        jobs[each.pipeline, X] = made = msgspec.structs.replace(made, ended_ns=100 - at)
        if state is JobState.WAITING:
            found = advance(made, jobs)
            assert isinstance(found, Unrunnable)
            jobs[each.pipeline, X] = msgspec.structs.replace(
                made, state=JobState.UNRUNNABLE, reason=found.reason, ended_ns=200 + at
            )
    told = f"is UNRUNNABLE, since p0b@{X} is FAILURE: 2 datums failed"
    assert jobs["p1a", X].reason == f"the upstream job p0b@{X} is FAILURE: 2 datums failed"
    assert jobs[f"p{last}a", X].reason == f"the upstream job p{last - 1}a@{X} {told}"


def test_inputs_that_crossed_each_other_meet_in_one_more_job():
    """How two inputs can each be read, and never together.

    1. Commit X on `side` is on its way through `p`; `both` waits for it, with W of `in`.
    2. Commit Y lands on `in`: `both` runs on it with what `p` has then, A.
    3. `p` commits X: nothing has read Y with X.
    """
    nodes = [node("p", "side"), node("both", "p", "in")]
    on_its_way = jobsets.derive(nodes, heads(**{"in": W, "side": X, "p": A}), [])
    jobs = {(each.pipeline, each.id): job(each) for each in on_its_way}
    crossing = jobsets.derive(nodes, heads(**{"in": Y, "side": X, "p": A}), jobs.values())
    assert keys(crossing) == [("both", Y)]
    jobs["both", Y] = job(crossing[0])
    jobs["p", X] = ended(jobs["p", X])
    now = heads(**{"in": Y, "side": X, "p": X})
    together = jobsets.derive(nodes, now, jobs.values())
    assert [[one.commit for one in each.inputs] for each in together] == [[X, Y]]
    jobs["both", together[0].id] = job(together[0])
    assert jobsets.derive(nodes, now, jobs.values()) == []


def test_parts_of_a_set_that_has_failed_are_not_mixed_with_older_ones():
    nodes = [node("l", "in"), node("r", "in"), node("end", "l", "r")]
    wanted = jobsets.derive(nodes, heads(**{"in": X, "l": W, "r": W}), [])
    jobs = {(each.pipeline, each.id): job(each) for each in wanted if each.id == X}
    jobs["l", X] = ended(jobs["l", X])
    jobs["r", X] = ended(jobs["r", X], JobState.FAILURE)
    jobs["end", X] = ended(jobs["end", X], JobState.UNRUNNABLE)
    now = heads(**{"in": X, "l": X, "r": W})
    assert [each for each in jobsets.derive(nodes, now, jobs.values()) if each.id != W] == []


def test_a_job_is_found_by_a_commit_that_it_reads_whatever_its_own_id_is():
    """A set of several new heads has the id of the first one only.

    1. A pipeline of two inputs is stopped; both inputs move.
    2. It starts again: one job reads both heads, and bears the id of the first.
    3. Who waits for what the other commit sets off finds that job all the same.
    """
    wanted = jobsets.derive([node("w", "in", "more")], heads(**{"in": A, "more": B}), [])
    assert keys(wanted) == [("w", A)]
    jobs = [job(each) for each in wanted]
    for repo, commit in (("in", A), ("more", B)):
        found = jobsets.reading(jobs, repo, commit)
        assert found is not None
        assert found.id == A
    assert jobsets.reading(jobs, "more", A) is None
    later = jobsets.derive([node("w", "in", "more")], heads(**{"in": X, "more": B}), jobs)
    found = jobsets.reading([*jobs, *map(job, later)], "more", B)
    assert found is not None
    assert found.id == A  # that the commit has set off, not a later one that reads it, too


def test_who_asks_for_the_job_on_a_commit_gets_its_newest_run():
    """A rerun reads the same commits under an id of its own, and so does all that follows from it."""
    nodes = [node("w", "in"), node("end", "w")]
    first = {
        (each.pipeline, each.id): job(each)
        for each in jobsets.derive(nodes, heads(**{"in": A}), [])
    }
    of_w = first["w", A]
    again = msgspec.structs.replace(of_w, id=B, order=of_w.order + 1, rerun_of=A)
    assert jobsets.reading([of_w, again], "in", A) is again
    assert jobsets.reading([first["end", A]], "w", A) is first["end", A]
    beside = msgspec.structs.replace(
        again, id=X, order=again.order + 1, inputs=(*again.inputs, *first["end", A].inputs)
    )
    assert jobsets.reading([of_w, again, beside], "in", A) is again  # not one that reads more


def test_a_cycle_is_named_in_the_direction_of_the_data():
    of = {"a": ["c"], "b": ["a"], "c": ["b", "in"], "d": ["a"], "e": ["e"]}

    def reads(name: str) -> list[str]:
        return of.get(name, [])

    assert cycles.find("a", reads) == ["a", "b", "c", "a"]
    assert cycles.find("d", reads) == []
    assert cycles.find("e", reads) == ["e", "e"]


def test_a_cycle_that_got_in_all_the_same_makes_no_jobs_and_does_not_hang():
    nodes = [node("a", "b"), node("b", "a"), node("c", "in")]
    assert keys(jobsets.derive(nodes, heads(**{"in": X}), [])) == [("c", X)]


@st.composite
def dags(draw: st.DrawFn) -> list[Node]:
    """Up to seven pipelines, each of which reads sources and pipelines before it."""
    found: list[Node] = []
    for position in range(draw(st.integers(1, 7))):
        others = ["in", "side", *(each.name for each in found)]
        reads = draw(st.lists(st.sampled_from(others), min_size=1, max_size=3, unique=True))
        found.append(node(f"p{position}", *reads))
    return found


class World:
    """What is stored, as the edge would keep it; jobs run and commit in any order it is told."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)
        self.heads: dict[tuple[str, str], str] = {}
        self.jobs: dict[tuple[str, str], records.Job] = {}

    def derive(self, crash_after: int | None = None) -> None:
        versions = {each.name: each.version for each in self.nodes}
        wanted = jobsets.derive(reversed(self.nodes), self.heads, self.jobs.values())
        for each in wanted[:crash_after]:
            assert (each.pipeline, each.id) not in self.jobs, "a job is created once"
            self.jobs[each.pipeline, each.id] = job(each, version=versions[each.pipeline])

    def finish_one(self, pick: int) -> bool:
        """End one job that is its pipeline's next and has its inputs; False when there is none."""
        waiting = [each for each in self.jobs.values() if each.state is JobState.WAITING]
        ready = [
            each
            for each in waiting
            if all(each.order <= one.order for one in waiting if one.pipeline == each.pipeline)
            and isinstance(advance(each, self.jobs), Ready)
        ]
        if not ready:
            return False
        one = ready[pick % len(ready)]
        self.jobs[one.pipeline, one.id] = ended(one)
        self.heads[one.pipeline, "master"] = one.id
        return True


commits = st.lists(st.sampled_from(["in", "side"]), min_size=1, max_size=4)
picks = st.lists(st.integers(0, 50), min_size=40, max_size=40)


@given(dags(), commits, st.data())
@settings(max_examples=200, deadline=None)
def test_a_crash_between_any_two_creations_changes_nothing(
    nodes: list[Node], sources: list[str], data: st.DataObject
):
    straight, crashing = World(nodes), World(nodes)
    for number, source in enumerate(sources):
        for world in (straight, crashing):
            world.heads[source, "master"] = f"{number:032x}"
        straight.derive()
        for _ in range(data.draw(st.integers(0, 3))):
            crashing.derive(crash_after=data.draw(st.integers(0, 3)))
        crashing.derive()
        assert crashing.jobs == straight.jobs
        for _ in range(data.draw(st.integers(0, 5))):
            pick = data.draw(st.integers(0, 20))
            straight.finish_one(pick)
            crashing.finish_one(pick)


@given(dags(), commits, picks)
@settings(max_examples=200, deadline=None)
def test_every_set_ends_and_the_last_job_of_each_pipeline_has_read_all_heads(
    nodes: list[Node], sources: list[str], order: list[int]
):
    world = World(nodes)
    for number, source in enumerate(sources):
        world.heads[source, "master"] = f"{number:032x}"
        world.derive()
        for pick in order[:number]:
            world.finish_one(pick)
            world.derive()
    world.derive()
    for pick in [*order, *range(200)]:
        if not world.finish_one(pick):
            break
        world.derive()
    assert all(each.state is JobState.SUCCESS for each in world.jobs.values())
    for each in nodes:
        own = [one for one in world.jobs.values() if one.pipeline == each.name]
        now = [world.heads.get((leaf.repo, leaf.branch)) for leaf in each.inputs]
        if own and all(now):
            newest = max(own, key=lambda one: one.order)
            read = [one.commit or newest.id for one in newest.inputs]
            assert read == now, "the last result is of all newest inputs"
        assert bool(own) == all(now)
        orders = [one.order for one in world.jobs.values() if one.pipeline == each.name]
        assert sorted(orders) == list(range(1, len(orders) + 1))
        assert len({one.id for one in world.jobs.values() if one.pipeline == each.name}) == len(
            orders
        )
