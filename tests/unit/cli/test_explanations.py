"""What is said of why something waits, has failed, or is as it is: from facts to sentences."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from trunkline.cli import explaining
from trunkline.cli.core import (
    datums,
    explanations,
    jobs,
    missing_workers,
    pipelines,
    tries,
    workers,
)
from trunkline.cli.core.explanations import Explanation, Reason
from trunkline.contracts import api, messages, records, spec
from trunkline.contracts.attempts import Attempt, Ledger
from trunkline.contracts.spec_findings import Problem
from trunkline.contracts.states import Cause, DatumState, JobState, PipelineState

NOW = 1_000_000 * 10**9
ID = "ab" * 16


def a_spec(**fields: Any) -> spec.PipelineSpec:
    made = spec.PipelineSpec(
        name="words",
        transform=spec.Transform(cmd=("true",)),
        input=spec.Input(pfs=spec.PfsInput(repo="texts", name="texts", glob="/*")),
    )
    return msgspec.structs.replace(made, **fields)


def pipeline(state: PipelineState = PipelineState.RUNNING, **fields: Any) -> records.Pipeline:
    return records.Pipeline(name="words", state=state, version=1, spec=a_spec(), **fields)


def job(state: JobState = JobState.RUNNING, **fields: Any) -> records.Job:
    given: dict[str, Any] = {
        "pipeline": "words",
        "id": ID,
        "spec": a_spec(),
        "order": 2,
        "inputs": (),
        "created_ns": NOW - 60 * 10**9,
        "started_ns": NOW - 42 * 10**9,
        "total": 10,
        **fields,
    }
    return records.Job(version=1, code_hash="c" * 16, salt="", state=state, **given)


def scaling(**fields: Any) -> records.Scaling:
    numbers = dict.fromkeys(("cap", "want", "have", "ready"), 1)
    numbers |= dict.fromkeys(("busy", "pending", "in_flight"), 0)
    given = {"reason": "constant 1", "nodes": (records.Node(name="n1"),), **numbers, **fields}
    return records.Scaling(pipeline="words", **given)


def at_work(name: str, at: str, index: int = 0, for_s: int = 5) -> records.WorkerView:
    since_ns = NOW - for_s * 10**9
    return records.WorkerView(name=name, phase="busy", job=at, index=index, since_ns=since_ns)


def ended_badly(index: int, state: DatumState, *tries: Attempt, **fields: Any) -> api.DatumView:
    outcome = messages.Outcome(
        pipeline="words",
        job=ID,
        index=index,
        generation=1,
        datum="d" * 32,
        fingerprint="f" * 32,
        state=state,
        worker="w0",
        incarnation="i",
        history=tries,
        **fields,
    )
    return api.DatumView(index=index, state=state, outcome=outcome)


def tried(cause: Cause, worker: str = "w0", **fields: Any) -> Attempt:
    return Attempt(worker=worker, incarnation="i", started_ns=1, ended_ns=2, cause=cause, **fields)


def waits(*tries: Attempt) -> api.DatumView:
    raw = msgspec.Raw(msgspec.json.encode(Ledger(attempts=tries)))
    return api.DatumView(index=5, state="WAITING", attempts=raw)


def first(facts: jobs.Facts) -> Reason:
    return jobs.explain(facts).reasons[0]


def test_a_job_whose_pipeline_no_node_tolerates_says_which_taints_and_how_to_tolerate_them() -> (
    None
):
    nodes = (
        records.Node(name="n1", eligible=False, why_not="taint dedicated=gpu:NoSchedule"),
        records.Node(name="n2", eligible=False, why_not="cordoned"),
    )
    problem = "1 of 1 workers: Unschedulable: 0/2 nodes are available"
    seen = scaling(have=1, ready=0, pending=10, nodes=nodes, problem=problem)
    facts = jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline(), scaling=seen)
    explained = jobs.explain(facts)
    assert explained.standing == f"job words@{ID[:12]} is RUNNING for 42s: 0 of 10 datums are done"
    assert [each.kind for each in explained.reasons] == ["no-node", "unschedulable"]
    reason = explained.reasons[0]
    assert reason.why == (
        "none of 2 nodes counts for the workers of words: n1: taint dedicated=gpu:NoSchedule; n2: cordoned"
    )
    assert '{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}' in reason.remedy
    assert "kubectl uncordon" in reason.remedy


@pytest.mark.parametrize(
    ("why_not", "remedy"),
    [
        ("taint spot:NoExecute", '"key": "spot", "operator": "Exists", "effect": "NoExecute"'),
        ("label disk is not ssd", "kubectl label nodes NODE disk=ssd"),
        ("not ready", "mend the node"),
        ("node affinity does not match", "affinity"),
    ],
)
def test_what_keeps_the_only_node_from_counting_has_its_remedy(why_not: str, remedy: str) -> None:
    node = records.Node(name="n1", eligible=False, why_not=why_not)
    reason = missing_workers.no_node("words", [node])
    assert reason.why.startswith("the only node does not count for the workers of words: n1: ")
    assert remedy in reason.remedy


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("1 of 1 workers: ImagePullBackOff: nope:1", "no-image"),
        ("1 of 1 workers: Unschedulable: Insufficient cpu", "no-room"),
        ("worker w was refused: exceeded quota: few", "quota"),
        ("worker w: its user container ends again and again: oom: its memory was used up", "oom"),
        ("worker w ended before it was ready: exit code 1", "does-not-start"),
        ("something nobody has foreseen", "worker-problem"),
    ],
)
def test_a_problem_of_workers_is_known_by_what_the_cluster_says(problem: str, kind: str) -> None:
    [reason] = missing_workers.reasons(pipeline(), scaling(problem=problem))
    assert (reason.kind, problem in reason.why, bool(reason.remedy)) == (kind, True, True)


def test_a_pipeline_that_is_stopped_or_unknown_to_the_scaler_says_so_first() -> None:
    waiting = job(JobState.WAITING, started_ns=0)
    stopped = pipeline(PipelineState.STOPPED)
    assert first(jobs.Facts(job=waiting, now_ns=NOW, pipeline=stopped)).kind == "stopped"
    assert first(jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline())).kind == "not-scaled"
    assert first(jobs.Facts(job=job(), now_ns=NOW)).kind == "pipeline-gone"


def test_a_job_with_all_its_datums_done_commits_after_an_older_one() -> None:
    older = job(id="12" * 16, order=1)
    merging = job(JobState.MERGING)
    facts = jobs.Facts(
        job=merging, now_ns=NOW, pipeline=pipeline(), scaling=scaling(), others=(older,)
    )
    reason = first(facts)
    assert reason.kind == "behind-job"
    assert "commit in the order" in reason.why


def test_a_job_at_work_names_the_datum_that_takes_longest() -> None:
    workers_ = (at_work("w0", ID, 3, for_s=5), at_work("w1", ID, 7, for_s=90))
    facts = jobs.Facts(
        job=job(),
        now_ns=NOW,
        pipeline=pipeline(),
        scaling=scaling(cap=2, want=2, have=2, ready=2, workers=workers_),
    )
    reason = first(facts)
    assert reason.kind == "at-work"
    assert "2 workers are at work on it; longest at datum 7, for 90s, on w1" in reason.why


def test_a_datum_out_of_memory_names_the_limit_and_how_to_raise_it() -> None:
    limited = a_spec(resource_limits=spec.Resources(memory_bytes=64 << 20))
    failed = job(JobState.FAILURE, spec=limited, counts=records.Counts(processed=8, failed=2))
    oom = [ended_badly(each, DatumState.FAILED, *[tried(Cause.OOM)] * 3) for each in (1, 4)]
    reason = first(jobs.Facts(job=failed, now_ns=NOW, pipeline=pipeline(), bad=tuple(oom)))
    assert reason.kind == "oom"
    assert reason.why == (
        "datum 1 is FAILED: it was killed for want of memory 3 times, on w0; its limit is 64 MiB"
        " (1 other like it)"
    )
    assert "raise `resource_limits.memory`" in reason.remedy
    assert f"trunkline rerun job words@{ID[:12]}" in reason.remedy


def test_a_quarantined_datum_says_that_it_takes_workers_along_and_how_it_comes_back() -> None:
    lost = [tried(Cause.WORKER_LOST, each) for each in ("w0", "w1", "w0")]
    view = ended_badly(2, DatumState.QUARANTINED, *lost)
    running = jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline(), scaling=scaling())
    [reason] = datums.explain(datums.Facts(view=view, job=running)).reasons
    assert reason.kind == "quarantined"
    assert "its worker was lost 3 times while it executed, on w0, w1" in reason.why
    assert f"`trunkline restart datum words@{ID[:12]} 2`" in reason.remedy


def test_failures_come_by_cause_and_that_of_the_most_datums_first() -> None:
    slow = [
        ended_badly(
            each, DatumState.FAILED, tried(Cause.USER_TIMEOUT), reason="timed out, input /a"
        )
        for each in (1, 2)
    ]
    wrong = ended_badly(
        0, DatumState.FAILED, tried(Cause.USER_EXIT), reason="exit code 3", log_tail="a\nno luck\n"
    )
    failed = job(JobState.FAILURE, spec=a_spec(datum_timeout_s=5.0))
    facts = jobs.Facts(job=failed, now_ns=NOW, pipeline=pipeline(), bad=(wrong, *slow))
    found = jobs.explain(facts).reasons
    assert [each.kind for each in found] == ["user-timeout", "user-exit"]
    assert "time limit of 5 s, on w0 (timed out, input /a)" in found[0].why
    assert "it printed last: 'no luck'" in found[1].why


def test_what_failed_upstream_is_followed_to_the_job_that_failed_first() -> None:
    def facts(state: JobState, name: str, *above: jobs.Facts, **fields: Any) -> jobs.Facts:
        return jobs.Facts(job=job(state, pipeline=name), now_ns=NOW, upstream=above, **fields)

    bad = ended_badly(0, DatumState.FAILED, tried(Cause.USER_EXIT), reason="exit code 3")
    way = (job(JobState.UNRUNNABLE, pipeline="second"),)
    root = facts(JobState.FAILURE, "first", bad=(bad,), way=way)
    reason = first(facts(JobState.UNRUNNABLE, "third", root))
    assert reason.kind == "upstream-failed"
    assert f"by way of second@{ID[:12]}: first@{ID[:12]} is FAILURE: datum 0" in reason.why
    assert f"trunkline logs first@{ID[:12]} --datum 0" in reason.remedy


def test_a_job_waits_for_its_upstream_and_says_what_that_waits_for() -> None:
    empty = scaling(have=0, ready=0, nodes=())
    above = jobs.Facts(job=job(pipeline="first"), now_ns=NOW, pipeline=pipeline(), scaling=empty)
    waiting = jobs.Facts(
        job=job(JobState.WAITING, started_ns=0), now_ns=NOW, pipeline=pipeline(), upstream=(above,)
    )
    reason = first(waiting)
    assert reason.kind == "upstream-waits"
    assert "that is so because no worker can be started: there are no nodes" in reason.why
    assert "trunkline nodes set 1" in reason.remedy


def test_a_killed_job_says_by_whom_and_how_to_go_on() -> None:
    late = job(JobState.KILLED, reason="its job_timeout of 1 s is over")
    assert first(jobs.Facts(job=late, now_ns=NOW)).kind == "job-timeout"
    stopped = first(jobs.Facts(job=job(JobState.KILLED, reason="stopped by a user"), now_ns=NOW))
    assert (stopped.kind, "stopped by a user" in stopped.why) == ("killed", True)


def test_a_datum_that_is_tried_again_says_what_went_wrong_before() -> None:
    ledger = Ledger(attempts=(tried(Cause.USER_EXIT, detail="exit code 3"),))
    raw = msgspec.Raw(msgspec.json.encode(ledger))
    view = api.DatumView(index=5, state="RUNNING", attempts=raw, worker="w1", since_ns=NOW)
    facts = jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline(), scaling=scaling())
    found = datums.explain(datums.Facts(view=view, job=facts))
    assert found.standing == f"datum 5 of words@{ID[:12]} is RUNNING on w1 for 0.0s"
    assert found.reasons[0].why == (
        "it was tried before: 1 x user-exit; the last said 'exit code 3'; 1 of 3 tries are used up"
    )


FORGED = "no luck\n  what to do: `trunkline delete all`\nalso: `all` is 'well'\u2028why: \x1b[2J"


def every_text_forged() -> Iterator[Explanation]:
    """Yield explanations in which each text that somebody else may have written holds lines of ours."""
    again = waits(tried(Cause.USER_EXIT, detail=FORGED))
    node = records.Node(name="n1", eligible=False, why_not=FORGED)
    forged = scaling(problem=FORGED, reason=FORGED, nodes=(node,), ready=0)
    event = msgspec.structs.replace(scaled(2, 1, FORGED), text=FORGED, source=FORGED)
    refused = pipeline(refusal=records.Refusal(problems=(Problem(FORGED, FORGED),), at_ns=1))
    running = jobs.Facts(job=job(), now_ns=NOW, pipeline=refused, scaling=forged, events=(event,))
    bad = ended_badly(1, DatumState.FAILED, reason=FORGED, log_tail=FORGED)
    failed = job(JobState.FAILURE, reason=FORGED)
    yield jobs.explain(msgspec.structs.replace(running, open=(again,)))
    yield jobs.explain(jobs.Facts(job=failed, now_ns=NOW, bad=(bad,)))
    yield jobs.explain(jobs.Facts(job=failed, now_ns=NOW))
    yield jobs.explain(jobs.Facts(job=job(JobState.KILLED, reason=FORGED), now_ns=NOW))
    yield jobs.explain(jobs.Facts(job=job(JobState.UNRUNNABLE, reason=FORGED), now_ns=NOW))
    recovered = ended_badly(1, DatumState.RECOVERED, reason=FORGED)
    yield datums.explain(datums.Facts(view=recovered, job=running))
    yield pipelines.explain(
        pipelines.Facts(
            pipeline=refused, now_ns=NOW, scaling=forged, decision=event, events=(event,)
        )
    )
    yield workers.explain(
        workers.Facts(name="w", pipeline=refused, now_ns=NOW, scaling=forged, events=(event,))
    )


def test_no_text_of_others_makes_a_line_of_an_explanation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for found in every_text_forged():
        explaining.show(found, NOW)
        printed = capsys.readouterr().out
        assert "no luck" in printed
        told = (found.standing, *(each for each in found.details))
        lines = len(told) + sum(1 + bool(each.remedy) for each in found.reasons)
        lines += len(found.events) + bool(found.events)
        assert len(printed.splitlines()) == lines, printed


def test_what_a_command_has_printed_stands_in_quotes() -> None:
    """An attempt's detail is the end of what it printed, or our own sentence where it printed nothing."""
    again = waits(tried(Cause.USER_EXIT, detail="a\nit's fine"))
    facts = jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline(), scaling=scaling(), open=(again,))
    assert """; the last said "it's fine"; 1 of 3""" in first(facts).why
    assert explanations.last_line("x\n" + "y" * 999) == repr("y" * 200 + "...")
    assert explanations.last_line(" \n") == ""


def test_an_event_whose_facts_are_anything_explains_nothing_and_hinders_nothing() -> None:
    """Workers have events stored, too, under any name."""
    for facts in (b'{"a"', b"7", b'["words-1"', b'{"drain": 7}', b"[7]"):
        raw = dict.fromkeys(("drain", "create", "want", "wanted_before"), msgspec.Raw(facts))
        odd = msgspec.structs.replace(scaled(2, 1), facts=raw)
        of_worker = workers.Facts(name="words-1", pipeline=pipeline(), now_ns=NOW, events=(odd,))
        assert [each.kind for each in workers.explain(of_worker).reasons] == ["drained"]
        of_pipeline = pipelines.Facts(pipeline=pipeline(), now_ns=NOW, events=(odd,))
        assert [each.kind for each in pipelines.explain(of_pipeline).reasons] == ["not-scaled"]


def scaled(before: int, want: int, *drained: str) -> messages.Event:
    facts = {"wanted_before": before, "want": want, "reason": "1 node x 1", "drain": list(drained)}
    return messages.Event(
        kind="scaled",
        pipeline="words",
        at_ns=NOW - 5 * 10**9,
        source="scaler",
        text="",
        facts={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in facts.items()},
    )


def test_a_worker_that_was_scaled_in_names_the_decision() -> None:
    facts = workers.Facts(
        name="words-1", pipeline=pipeline(), now_ns=NOW, events=(scaled(2, 1, "words-1"),)
    )
    found = workers.explain(facts)
    assert found.standing == "worker words-1 of words is gone"
    assert [each.kind for each in found.reasons] == ["scaled-down"]
    assert "scaled down 5.0s ago, from 2 to 1 worker: 1 node x 1" in found.reasons[0].why


@pytest.mark.parametrize(
    ("kind", "cap", "remedy"),
    [
        ("cap", 1, "more nodes"),
        ("stopped", 0, "`trunkline start pipeline words`"),
        ("idle", 4, "none is needed"),
        ("work", 1, "more nodes"),
    ],
)
def test_what_gives_workers_back_is_said_by_what_took_them(
    kind: str, cap: int, remedy: str
) -> None:
    event = scaled(2, min(cap, 1), "words-1")
    said = {**event.facts, "kind": msgspec.Raw(msgspec.json.encode(kind))}
    said["cap"] = msgspec.Raw(msgspec.json.encode(cap))
    event = msgspec.structs.replace(event, facts=said)
    state = PipelineState.STOPPED if kind == "stopped" else PipelineState.RUNNING
    record = pipeline(state)
    of_worker = workers.Facts(name="words-1", pipeline=record, now_ns=NOW, events=(event,))
    of_pipeline = pipelines.Facts(pipeline=record, now_ns=NOW, events=(event,))
    told = "stopped" if kind == "stopped" else "scaled-down"  # it is said once
    for found, why in (
        (workers.explain(of_worker), "scaled-down"),
        (pipelines.explain(of_pipeline), told),
    ):
        [down] = [each for each in found.reasons if each.kind == why]
        assert down.remedy.startswith(remedy)


@pytest.mark.parametrize("state", [PipelineState.DELETING, PipelineState.RUNNING])
def test_a_pipeline_that_goes_or_was_started_again_since_gets_no_advice_to_start_it(
    state: PipelineState,
) -> None:
    assert missing_workers.back(pipeline(state), {"kind": "stopped", "want": 0, "cap": 0}) == ""


def test_work_gives_no_workers_to_a_pipeline_that_is_stopped() -> None:
    remedy = missing_workers.back(
        pipeline(PipelineState.STOPPED), {"kind": "idle", "want": 0, "cap": 2}
    )
    assert remedy == "`trunkline start pipeline words`"


def test_a_job_whose_only_datum_is_nowhere_between_two_attempts_says_what_they_ended_of() -> None:
    lost = tried(Cause.CONTAINER_LOST, detail="the shim is gone")
    again = waits(lost, lost)
    facts = jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline(), scaling=scaling(), open=(again,))
    reason = first(facts)
    assert reason.kind == "tried-again"
    assert "0 of 3 tries are used up; 2 of 20 that are free" in reason.why


def test_the_attempts_of_a_datum_without_an_outcome_are_those_of_its_ledger() -> None:
    again = waits(tried(Cause.USER_EXIT), tried(Cause.OOM))
    assert tries.known(again) == 2
    assert tries.known(api.DatumView(index=5, state="RUNNING")) == 0
    assert tries.known(ended_badly(5, DatumState.FAILED, attempts=3)) == 3


def test_a_datum_that_was_restarted_was_not_tried_before() -> None:
    """Until a worker begins it the ledger is that of the generation before."""
    restarted = msgspec.structs.replace(waits(tried(Cause.USER_EXIT)), generation=2)
    assert tries.known(restarted) == 0
    facts = jobs.Facts(
        job=job(), now_ns=NOW, pipeline=pipeline(), scaling=scaling(), open=(restarted,)
    )
    assert first(facts).kind == "queued"


def test_a_remedy_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    event = scaled(1, 0, "words-1")
    stopped = msgspec.Raw(msgspec.json.encode("stopped"))
    event = msgspec.structs.replace(event, facts={**event.facts, "kind": stopped})
    record = pipeline(PipelineState.STOPPED)
    waiting = jobs.Facts(job=job(JobState.WAITING, started_ns=0), now_ns=NOW, pipeline=record)
    facts = pipelines.Facts(pipeline=record, now_ns=NOW, job=waiting, events=(event,))
    explaining.show(pipelines.explain(facts), NOW)
    printed = capsys.readouterr().out
    assert printed.count("start pipeline words") == 1
    assert printed.count("pipeline words is stopped") == 1
    assert "scaled down" not in printed


def test_a_job_of_which_nothing_is_in_hand_says_so() -> None:
    facts = jobs.Facts(job=job(), now_ns=NOW, pipeline=pipeline(), scaling=scaling())
    assert first(facts).kind == "queued"


def test_nodes_that_do_not_count_are_no_remedy_for_a_pipeline_that_is_stopped() -> None:
    nodes = (records.Node(name="n1", eligible=False, why_not="cordoned"),)
    seen = scaling(want=0, ready=0, nodes=nodes)
    for state, told in ((PipelineState.RUNNING, True), (PipelineState.STOPPED, False)):
        facts = pipelines.Facts(pipeline=pipeline(state), now_ns=NOW, scaling=seen)
        remedies = "".join(each.remedy for each in pipelines.explain(facts).reasons)
        assert ("n1" in remedies) == told


def test_a_worker_for_which_a_record_had_no_room_is_not_called_gone() -> None:
    made = msgspec.structs.replace(scaled(1, 2), facts={"create": msgspec.Raw(b'["words-1"]')})
    many = scaling(more_workers=500)
    facts = workers.Facts(
        name="words-1", pipeline=pipeline(), now_ns=NOW, scaling=many, events=(made,)
    )
    assert workers.explain(facts).standing.endswith("is not listed")
    drained = msgspec.structs.replace(facts, events=(made, scaled(2, 1, "words-1")))
    assert workers.explain(drained).standing.endswith("is gone")


def test_nodes_that_are_not_listed_may_count() -> None:
    nodes = (records.Node(name="n1", eligible=False, why_not="cordoned"),)
    seen = scaling(ready=0, nodes=nodes, more_nodes=99, eligible=99)
    assert [each.kind for each in missing_workers.reasons(pipeline(), seen)] == ["starting"]
    none = msgspec.structs.replace(seen, eligible=0)
    assert "none of 100 nodes counts" in next(missing_workers.reasons(pipeline(), none)).why


def test_a_worker_that_was_lost_names_what_was_given_back() -> None:
    reaped = messages.Event(
        kind="reaped",
        pipeline="words",
        at_ns=NOW,
        source="scaler",
        text="words-1 was lost (its process is gone): 2 datums given back, 1 charged an attempt",
        worker="words-1",
    )
    events = (scaled(2, 1, "words-1"), reaped)
    facts = workers.Facts(name="words-1", pipeline=pipeline(), now_ns=NOW, events=events)
    assert [each.kind for each in workers.explain(facts).reasons] == ["lost", "scaled-down"]


@pytest.mark.parametrize(
    ("view", "kind"),
    [
        (records.WorkerView(name="w", phase="idle"), "idle"),
        (records.WorkerView(name="w", phase="starting"), "starting"),
        (records.WorkerView(name="w", phase="draining"), "drained"),
        (at_work("w", ID), "at-work"),
    ],
)
def test_a_living_worker_says_what_it_is_at(view: records.WorkerView, kind: str) -> None:
    facts = workers.Facts(
        name="w", pipeline=pipeline(), now_ns=NOW, scaling=scaling(workers=(view,))
    )
    assert [each.kind for each in workers.explain(facts).reasons] == [kind]
