"""What is seen of a worker."""

from typing import Any

import msgspec
import pytest

from trunkline.contracts.messages import Claim, Held
from trunkline.scaler.core.plan import Phase, Seen
from trunkline.scaler.core.sight import Signs, see, show, trouble
from trunkline.scaler.ports import Node, Worker

NODES = {
    "n1": Node(name="n1"),
    "out": Node(name="out", eligible=False, why_not="cordoned", cordoned=True),
    "ill": Node(name="ill", eligible=False, why_not="not ready"),
}
JOB = "0" * 32


def worker(node: str = "n1", *, running: bool = True, stopping: bool = False) -> Worker:
    return Worker(
        name="w-0", pipeline="p", code_hash="c", node=node, running=running, stopping=stopping
    )


def claim(*executing: bool, draining: bool = False) -> Claim:
    held = tuple(
        Held(job=JOB, sequence=n + 1, index=n, generation=1, executing=begun, since_ns=7 * begun)
        for n, begun in enumerate(executing)
    )
    return Claim(
        worker="w-0", incarnation="i", code_hash="c", slots=1, held=held, draining=draining
    )


def seen(its: Worker | None = None, **signs: Any) -> Seen:
    return see(its or worker(), Signs(**signs), NODES, drain_answer_s=5, silent_s=60)


@pytest.mark.parametrize(
    ("signs", "phase"),
    [
        ({}, Phase.STARTING),
        ({"claim": claim()}, Phase.IDLE),
        ({"claim": claim(True)}, Phase.BUSY),
        ({"claim": claim(False)}, Phase.BUSY),
        ({"claim": claim(True), "asked_s": 0.1}, Phase.DRAINING),
        ({"claim": claim(), "asked_s": 0.1}, Phase.DRAINING),
        ({"claim": claim(draining=True), "asked_s": 0.1}, Phase.GONE),
        ({"claim": claim(draining=True)}, Phase.GONE),  # asked by our predecessor
        ({"claim": claim(True, draining=True), "asked_s": 999.0}, Phase.DRAINING),
        ({"claim": claim(True, draining=True), "silent_s": 9.0}, Phase.DRAINING),
        ({"claim": claim(True, draining=True), "silent_s": 60.0}, Phase.GONE),
        ({"asked_s": 4.9}, Phase.DRAINING),
        ({"asked_s": 5.0}, Phase.GONE),
        ({"claim": claim(True), "asked_s": 9.0, "silent_s": 4.0}, Phase.DRAINING),
        ({"claim": claim(True), "asked_s": 60.0, "silent_s": 60.0}, Phase.GONE),
    ],
)
def test_phases(signs: dict[str, Any], phase: Phase) -> None:
    assert seen(**signs).phase is phase


def test_who_was_told_to_end_is_only_waited_for() -> None:
    assert seen(worker(stopping=True), claim=claim(draining=True)).phase is Phase.STOPPING


def test_nodes_that_are_cordoned_are_emptied_and_others_only_preferred() -> None:
    assert seen(worker("out")).must_go == "its node out is cordoned"
    assert not seen(worker("ill")).must_go
    assert seen(worker("ill")).misplaced
    assert seen(worker("lost")).misplaced
    assert not seen(worker()).misplaced
    assert not seen(worker("")).misplaced


def test_a_worker_that_never_says_a_word_is_replaced() -> None:
    assert not seen(silent_s=59.0).must_go
    assert seen(silent_s=61.0).must_go == "no sign of life for 60 s"
    assert not seen(worker(running=False), silent_s=61.0).must_go  # it waits for its image
    assert not seen(claim=claim(True), silent_s=61.0).must_go


def test_a_worker_that_would_be_made_otherwise_now_waits_for_its_turn_once_it_is_up() -> None:
    assert seen(claim=claim(True), outdated=True).outdated
    assert not seen(claim=claim(True), outdated=True).must_go
    assert not seen(outdated=True).must_go  # it runs, and may be back in a moment
    crashing = msgspec.structs.replace(worker(), problem="CrashLoopBackOff")
    for down in (worker(running=False), crashing):
        assert seen(down, outdated=True).must_go == "the spec would make it otherwise now"
    assert not seen(crashing, claim=claim(True), outdated=True).must_go
    assert seen(worker("out"), outdated=True).must_go == "its node out is cordoned"


def test_trouble_of_older_code_is_told_with_what_ends_it() -> None:
    lame = [
        msgspec.structs.replace(worker(), code_hash=code, problem="ErrImagePull")
        for code in ("old", "new")
    ]
    assert trouble([worker()], "new") == ""
    assert trouble(lame, "new") == "2 of 2 workers: ErrImagePull"
    assert trouble(lame[:1], "new").endswith(
        "(it is for a job of older code: `stop job` ends that, or `apply --now`)"
    )
    assert trouble(lame[:1]) == "1 of 1 worker: ErrImagePull"


def test_people_see_what_it_works_on() -> None:
    its = claim(False, True)
    view = show(worker(), seen(claim=its), its)
    assert (view.phase, view.held, view.job, view.index, view.since_ns) == ("busy", 2, JOB, 1, 7)
