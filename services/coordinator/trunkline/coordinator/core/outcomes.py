"""What the outcome stream holds: read with suspicion, never refused.

The first record on a datum's subject is there for ever, right or wrong: the stream refuses another.
So one that cannot be right is no reason to wait for a better one. It is taken as what it is, the
end of this datum in this job, and read as FAILED with the reason.
"""

import re
from functools import lru_cache

import msgspec

from trunkline.contracts import errors, messages, names
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import DatumState

_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_TOKENS = 6
"""Of `trunkline.outcomes.<pipeline>.<job>.<index>.<generation>`."""


class Place(msgspec.Struct, frozen=True):
    """What the subject of an outcome says."""

    pipeline: str
    job: str
    index: int
    generation: int


def place(subject: str) -> Place | None:
    """Return what an outcome's subject says; None for a subject that no outcome has."""
    tokens = subject.split(".")
    if len(tokens) != _TOKENS:
        return None
    index, generation = tokens[4:]
    if not (_is_number(index) and _is_number(generation)):
        return None
    pipeline, job = tokens[2:4]
    return Place(pipeline, job, int(index), int(generation)) if _is_job(pipeline, job) else None


def read(where: Place, data: bytes) -> Outcome:
    """Return the outcome that is stored at this place; FAILED where it cannot be right."""
    try:
        outcome = messages.decode("outcome", data, Outcome)
    except errors.MalformedMessageError as error:
        return _unusable(where, error.reason)
    named = Place(outcome.pipeline, outcome.job, outcome.index, outcome.generation)
    if named != where:
        return _unusable(where, "it names another datum")
    if outcome.state is DatumState.SKIPPED:
        return _unusable(where, "a worker cannot skip a datum")
    if not _FINGERPRINT.fullmatch(outcome.fingerprint):
        return _unusable(where, "its fingerprint is none")
    return outcome


def skipped(done: Outcome, index: int) -> Outcome:
    """Return what stands for a datum that an earlier job has done: its outcome, at its new place.

    Job, generation, worker and figures stay those of the job that did it: there are its logs.
    """
    return msgspec.structs.replace(done, index=index, state=DatumState.SKIPPED)


def key(index: int) -> bytes:
    """Return the key under which a run holds the outcome of this index."""
    return index.to_bytes(8, "big")


@lru_cache(maxsize=1024)
def _is_job(pipeline: str, job: str) -> bool:
    """Return whether these are names; asked for each outcome, and seldom about another job."""
    try:
        names.pipeline(pipeline)
        names.commit(job)
    except errors.InvalidNameError:
        return False
    return True


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _unusable(where: Place, reason: str) -> Outcome:
    return Outcome(
        pipeline=where.pipeline,
        job=where.job,
        index=where.index,
        generation=where.generation,
        datum="",
        fingerprint="",
        state=DatumState.FAILED,
        worker="",
        incarnation="",
        reason=f"the worker's outcome cannot be used: {reason}"[:500],
    )
