"""What people are shown of pipelines: their versions, why they have so many workers, in which order they go."""

from typing import Any

import msgspec

from trunkline.cli import pipelines, versions
from trunkline.cli.core import pipelines as explaining
from trunkline.contracts import api, messages, records, spec
from trunkline.contracts.states import PipelineState
from trunkline.runtime.clock import SystemClock


def a_spec(name: str, *reads: str, **fields: Any) -> spec.PipelineSpec:
    leaves = tuple(spec.Input(pfs=spec.PfsInput(repo=r, name=r, glob="/*")) for r in reads)
    made = spec.PipelineSpec(
        name=name, transform=spec.Transform(cmd=("true",)), input=spec.Input(cross=leaves)
    )
    return msgspec.structs.replace(made, **fields)


def pipeline(name: str, *reads: str) -> records.Pipeline:
    return records.Pipeline(
        name=name, state=PipelineState.RUNNING, version=3, spec=a_spec(name, *reads)
    )


def test_all_pipelines_go_readers_first() -> None:
    never = records.Pipeline(name="b-refused", state=PipelineState.REFUSED)
    there = [pipeline("a", "in"), never, pipeline("c", "a"), pipeline("d", "a", "c")]
    assert pipelines.readers_first(there) == ["b-refused", "d", "c", "a"]


def test_a_version_is_told_by_what_it_changed() -> None:
    before = a_spec("a", "in")
    after = a_spec("a", "in", datum_tries=9, transform=spec.Transform(cmd=("false",), image="x"))
    assert versions.changed(before, after) == "datum_tries, transform.cmd, transform.image"
    assert versions.changed(before, before) == ""


def test_a_decision_is_told_with_all_that_it_was_made_of() -> None:
    nodes = (
        records.Node(name="n0"),
        records.Node(name="n1", eligible=False, why_not="cordoned"),
    )
    facts = {
        "cap": 4,
        "want": 3,
        "wanted_before": 1,
        "have": 1,
        "pending": 7,
        "in_flight": 1,
        "nodes": nodes,
        "wants": {"aaaa": 1, "bbbb": 2},
        "reason": "because",
        "problem": "",
        "create": ["words-bbbb-0", "words-bbbb-1"],
        "drain": [],
    }
    decision = messages.Event(
        kind="scaled",
        pipeline="words",
        at_ns=SystemClock().wall_ns() - 300_000_000_000,
        source="scaler",
        text="in one sentence",
        facts={key: msgspec.Raw(msgspec.json.encode(value)) for key, value in facts.items()},
    )
    scaling = records.Scaling(
        pipeline="words",
        cap=4,
        want=3,
        have=2,
        ready=2,
        busy=1,
        pending=5,
        in_flight=2,
        reason="because",
        nodes=nodes,
        problem="no room",
    )
    known = explaining.Facts(
        pipeline=pipeline("words", "in"),
        now_ns=SystemClock().wall_ns(),
        decision=decision,
        scaling=scaling,
    )
    found = explaining.explain(known)
    assert found.standing == (
        "pipeline words, version 3, is RUNNING: 2 of 3 workers, 1 busy; 5 datums waiting, 2 in flight"
    )
    assert [each.kind for each in found.reasons] == ["worker-problem", "workers"]
    assert "no room" in found.reasons[0].why
    assert list(found.details) == [
        "decided 5m ago: because",
        "  nodes: 1 of 2 count: n0",
        "    not n1: cordoned",
        "  work then: 7 pending, 1 in flight",
        "  workers then: there were 1 of at most 4, 3 wanted (before: 1)",
        "    1 of code aaaa",
        "    2 of code bbbb",
        "  create: words-bbbb-0, words-bbbb-1",
    ]


def test_without_a_decision_that_is_said() -> None:
    facts = explaining.Facts(pipeline=pipeline("words", "in"), now_ns=0)
    [reason] = explaining.explain(facts).reasons
    assert reason.why == "the scaler has decided nothing about it yet"


def test_a_pipeline_stands_by_or_crashes_as_its_scaler_sees_it() -> None:
    record = pipeline("words", "in")
    standby = msgspec.structs.replace(record, spec=a_spec("words", "in", standby=True))
    sleeps = records.Scaling(
        pipeline="words", cap=4, want=0, have=0, ready=0, busy=0, pending=0, in_flight=0, reason=""
    )

    def shown(one: records.Pipeline, scaling: records.Scaling | None = None) -> str:
        return pipelines.state(api.PipelineView(pipeline=one, scaling=scaling))

    assert shown(record) == shown(record, sleeps) == "RUNNING"
    assert shown(standby, sleeps) == "STANDBY"
    assert shown(record, msgspec.structs.replace(sleeps, problem="no image")) == "CRASHING"
    stopped = msgspec.structs.replace(record, state=PipelineState.STOPPED)
    assert shown(stopped, msgspec.structs.replace(sleeps, problem="no image")) == "STOPPED"
    refused = msgspec.structs.replace(stopped, refusal=records.Refusal(problems=(), at_ns=1))
    assert shown(refused) == "REFUSED"
