"""Which attempts have failed, by records and by words."""

import msgspec
import pytest
from tests.unit.cli import test_explanations as build

from trunkline.cli.core import ended_attempts
from trunkline.contracts import api, messages
from trunkline.contracts.attempts import Ledger
from trunkline.contracts.states import Cause, DatumState


def told(view: api.DatumView) -> list[tuple[int, Cause | None]]:
    found = ended_attempts.words(build.job(), view)
    assert all((each.job, each.line.stream) == (build.ID, "agent") for each in found)
    return [(each.line.attempt, each.line.ends) for each in found]


def test_a_datum_that_ended_badly_tells_all_its_attempts() -> None:
    tries = (build.tried(Cause.WORKER_LOST), build.tried(Cause.DRAINED), build.tried(Cause.OOM))
    assert told(build.ended_badly(3, DatumState.FAILED, *tries)) == [
        (1, Cause.WORKER_LOST),
        (2, Cause.DRAINED),
        (3, Cause.OOM),
    ]


@pytest.mark.parametrize(
    ("state", "ends"),
    [
        (DatumState.FAILED, [(1, Cause.USER_EXIT)]),
        (DatumState.RECOVERED, [(1, Cause.USER_EXIT)]),
        (DatumState.PROCESSED, []),
    ],
)
def test_an_only_attempt_stands_in_the_outcome(state: DatumState, ends: list[object]) -> None:
    assert told(build.ended_badly(0, state, reason="exit code 1")) == ends


def test_of_a_datum_that_is_open_the_ledger_tells_and_not_of_what_runs() -> None:
    running = msgspec.structs.replace(build.tried(Cause.OOM), cause=None, ended_ns=0)
    ledger = Ledger(attempts=(build.tried(Cause.EVICTED), running))
    view = api.DatumView(index=1, state="RUNNING", attempts=msgspec.Raw(messages.encode(ledger)))
    assert told(view) == [(1, Cause.EVICTED)]
    assert told(api.DatumView(index=1, state="WAITING")) == []


def word(ends: Cause) -> api.LogEntry:
    line = messages.LogLine(
        worker="w", datum="", index=0, stream="agent", text="", at_ns=1, ends=ends
    )
    return api.LogEntry(sequence=1, job=build.ID, line=line)


def test_records_add_what_was_never_said_and_take_back_what_was_excused() -> None:
    said = {
        "lost": word(Cause.WORKER_LOST),
        "back": word(Cause.SERVER_RESTART),
        "excused": word(Cause.WORKER_LOST),
        "early": word(Cause.OOM),
    }
    recorded = {
        "excused": word(Cause.DRAINED),
        "lost": word(Cause.NODE_LOST),
        "unsaid": word(Cause.USER_EXIT),
        "done": word(Cause.DONE),
    }
    assert ended_attempts.failed(said, recorded) == ["lost", "early", "unsaid"]
    assert ended_attempts.failed(said, {}) == ["lost", "excused", "early"]
