"""Which pipelines a round may pass over."""

import msgspec

from trunkline.contracts import records
from trunkline.contracts.states import PipelineState
from trunkline.scaler.core.quiet import Quiet
from trunkline.scaler.ports import Node

RECORD = records.Pipeline(name="p", state=PipelineState.RUNNING, version=1)
NODES = (Node(name="n1"),)


def noted() -> Quiet:
    quiet = Quiet()
    quiet.look(NODES)
    quiet.note("p", RECORD)
    return quiet


def test_it_is_passed_over_while_nothing_is_said_of_it() -> None:
    quiet = noted()
    quiet.look((Node(name="n1"),))
    assert quiet.holds("p", RECORD, busy=False)
    assert not quiet.holds("another", RECORD, busy=False)


def test_a_job_a_new_version_or_another_node_has_it_decided() -> None:
    assert not noted().holds("p", RECORD, busy=True)
    assert not noted().holds("p", msgspec.structs.replace(RECORD, version=2), busy=False)
    assert not noted().holds("p", None, busy=False)
    quiet = noted()
    quiet.look((*NODES, Node(name="n2")))
    assert not quiet.holds("p", RECORD, busy=False)


def test_what_was_decided_since_is_not_passed_over_by_an_older_note() -> None:
    quiet = noted()
    quiet.forget("p")
    assert not quiet.holds("p", RECORD, busy=False)
