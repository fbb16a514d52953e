"""What a datum's records say of its attempts that have ended: for who finds no last word on one in the log.

A word is a help that may be lost, with its worker or on the way; an attempt in the ledger, or an outcome, is not. So
the two are merged: records say which attempts have failed, and words tell of those whose records are not looked at.
"""

from collections.abc import Mapping
from typing import TypeVar

from trunkline.cli.core import tries
from trunkline.contracts import api, messages, records
from trunkline.contracts.attempts import NO_FAILURE, Attempt
from trunkline.contracts.states import DatumState

STATES = (DatumState.FAILED, DatumState.QUARANTINED, DatumState.RECOVERED)
"""Of an outcome that an attempt has failed before."""

K = TypeVar("K")


def words(job: records.Job, view: api.DatumView) -> list[api.LogEntry]:
    """Return what should have been said of each attempt that has ended, in order; as no message of the stream."""
    made = tries.attempts(view)
    if made:
        numbered = enumerate(made, start=1)
        return [_word(job, view, number, each) for number, each in numbered if each.cause]
    outcome = view.outcome
    if outcome is None or outcome.state not in STATES:
        return []
    only = Attempt(  # a first one stands in no ledger by itself
        worker=outcome.worker,
        incarnation=outcome.incarnation,
        started_ns=0,
        ended_ns=outcome.ended_ns,
        cause=tries.cause(view),
        detail=outcome.reason,
    )
    return [_word(job, view, outcome.attempts, only)]


def failed(said: Mapping[K, api.LogEntry], recorded: Mapping[K, api.LogEntry]) -> list[K]:
    """Return the attempts that have failed: in the order of their words, then those that have none.

    Args:
        said: The last word on each attempt, in order.
        recorded: The same by records, of some datums: where both are there, these hold.
    """
    last = {**said, **recorded}
    return [each for each, entry in last.items() if entry.line.ends not in NO_FAILURE]


def _word(job: records.Job, view: api.DatumView, number: int, attempt: Attempt) -> api.LogEntry:
    line = messages.LogLine(
        worker=attempt.worker,
        datum=view.outcome.datum if view.outcome else "",
        index=view.index,
        stream="agent",
        text=attempt.detail or str(attempt.cause),
        at_ns=max(0, attempt.ended_ns),
        attempt=number,
        generation=view.generation,
        incarnation=attempt.incarnation,
        ends=attempt.cause,
    )
    return api.LogEntry(sequence=0, pipeline=job.pipeline, job=job.id, line=line)
