"""What the outcome stream holds: read with suspicion, never refused.

The first record on a datum's subject is there for ever, right or wrong: the stream refuses another.
So one that cannot be right is no reason to wait for a better one. It is taken as what it is, the
end of this datum in this job, and read as FAILED with the reason.

Outside of the stream (in scratch files, archives, done indexes) an outcome is *kept*: its bytes as
the worker has sent them, behind a head that says its state, whether it has output, and its
fingerprint. That is all that counting, skipping and most merges ask, so each record is decoded once,
when it is read with suspicion, and again only by who shows it or wants its files.
"""

import re
from functools import lru_cache

import msgspec

from trunkline.contracts import errors, messages, names
from trunkline.contracts.messages import Outcome
from trunkline.contracts.states import DatumState

_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_FINGERPRINT_BYTES = 16
_HEAD_BYTES = 1 + _FINGERPRINT_BYTES
_OUTPUT, _COPIED = 0x80, 0x40
"""Beside the state in the first byte."""
_STATES = tuple(DatumState)
_CODES = {state: code for code, state in enumerate(_STATES)}
_decode = msgspec.json.Decoder(Outcome).decode
_TOKENS = 7
"""Of `trunkline.outcomes.<pipeline>.<ward>.<job>.<index>.<generation>`."""


class Place(msgspec.Struct, frozen=True):
    """What the subject of an outcome says."""

    pipeline: str
    job: str
    index: int
    generation: int


def place(subject: str) -> Place | None:
    """Return what an outcome's subject says; None for a subject that no outcome has.

    Whether it stands under the right ward is for `Wards.owns` to say.
    """
    rest, _, generation = subject.rpartition(".")
    job, _, index = rest.rpartition(".")
    owner = _owner(job)
    if owner is None or not (_is_number(index) and _is_number(generation)):
        return None
    return Place(owner[0], owner[1], int(index), int(generation))


def index_of(subject: str) -> int | None:
    """Return the index at the end of a ledger's subject; None for a subject that no ledger has."""
    index = subject.rpartition(".")[2]
    return int(index) if _is_number(index) else None


def read(where: Place, data: bytes) -> Outcome:
    """Return the outcome that is stored at this place; FAILED where it cannot be right."""
    try:
        outcome = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _unusable(where, str(error))
    if (
        outcome.index != where.index
        or outcome.generation != where.generation
        or outcome.job != where.job
        or outcome.pipeline != where.pipeline
    ):
        return _unusable(where, "it names another datum")
    if outcome.state is DatumState.SKIPPED:
        return _unusable(where, "a worker cannot skip a datum")
    if not _FINGERPRINT.fullmatch(outcome.fingerprint):
        return _unusable(where, "its fingerprint is none")
    if outcome.state is not DatumState.PROCESSED and _names_output(outcome):
        return _unusable(where, f"a datum that is {outcome.state} has no output")
    return outcome


def keep(outcome: Outcome, data: bytes) -> bytes:
    """Return an outcome as it is kept: a head, then the bytes that it was read from.

    Of one that could not be right, the bytes are those of what it was read as.
    """
    head = _CODES[outcome.state]
    if outcome.files or outcome.manifest:
        head |= _OUTPUT
    if any(each.copy for each in outcome.history):
        head |= _COPIED
    if not outcome.fingerprint:
        return b"%c%b%b" % (head, bytes(_FINGERPRINT_BYTES), messages.encode(outcome))
    return b"%c%b%b" % (head, bytes.fromhex(outcome.fingerprint), data)


def state(kept: bytes) -> DatumState:
    """Return how the datum of a kept outcome ended."""
    return _STATES[kept[0] & ~(_OUTPUT | _COPIED)]


def has_output(kept: bytes) -> bool:
    """Whether a kept outcome names files."""
    return bool(kept[0] & _OUTPUT)


def was_copied(kept: bytes) -> bool:
    """Whether the datum of a kept outcome was tried by a second worker beside the first one."""
    return bool(kept[0] & _COPIED)


def fingerprint(kept: bytes) -> bytes:
    """Return the fingerprint of a kept outcome's datum; zeros where it could not be right."""
    return kept[1:_HEAD_BYTES]


def whole(kept: bytes) -> Outcome:
    """Return a kept outcome in full."""
    return _decode(memoryview(kept)[_HEAD_BYTES:])


def skipped(done: Outcome, index: int) -> Outcome:
    """Return what stands for a datum that an earlier job has done: its outcome, at its new place.

    Job, generation, worker and figures stay those of the job that did it: there are its logs.
    """
    return msgspec.structs.replace(done, index=index, state=DatumState.SKIPPED)


def key(index: int) -> bytes:
    """Return the key under which a run holds the outcome of this index."""
    return index.to_bytes(8, "big")


@lru_cache(maxsize=1024)
def _owner(subject: str) -> tuple[str, str] | None:
    """Return pipeline and job; asked for each outcome, and seldom about another job."""
    tokens = subject.split(".")
    if len(tokens) != _TOKENS - 2:
        return None
    pipeline, _, job = tokens[2:]
    try:
        return names.pipeline(pipeline), names.commit(job)
    except errors.InvalidNameError:
        return None


def _names_output(outcome: Outcome) -> bool:
    return bool(outcome.files or outcome.manifest or outcome.output_files or outcome.output_bytes)


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
