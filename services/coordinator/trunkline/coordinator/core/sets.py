"""Which datums travel together in one message: what `datum_set_spec` asks for, and no more than fits.

A set is only how datums travel: each has its own index, Msg-Id apart, and outcome. Its size is a matter
of balance. Large ones spare the queue and keep a worker busy; small ones spread evenly at a job's end
and lose less with a worker. Without `datum_set_spec` each datum travels alone.

A window that is listed again after a crash is grouped as before, unless the number of workers has
changed and the spec speaks of it. Then some datums are in two sets, and whichever outcome comes second
is refused, as always.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from trunkline.contracts import messages, spec
from trunkline.coordinator.core.datums import Datum

_HEAD, _TAIL = b'{"type":"datum-set.v1","datums":[', b"]}"


def grouped(
    datums: Sequence[Datum], wanted: spec.DatumSets, workers: int
) -> Iterator[Sequence[Datum]]:
    """Yield the sets of a window's datums, in order; each has at least one.

    Args:
        datums: Those of a window that are to be done.
        wanted: What the spec asks for.
        workers: How many there may be, for `per_worker`.
    """
    number = _number(len(datums), wanted, workers)
    if number == 1 and not wanted.size_bytes:
        for datum in datums:
            yield (datum,)
        return
    chosen: list[Datum] = []
    size = 0.0
    for datum in datums:
        own = _size(datum)
        full = len(chosen) == number or (wanted.size_bytes and size + own > wanted.size_bytes)
        if chosen and full:
            yield chosen
            chosen, size = [], 0.0
        chosen.append(datum)
        size += own
    if chosen:
        yield chosen


def packed(datums: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Join the encoded DatumTasks of a set into messages that are not too large.

    Yields:
        How many of them a message holds, and the message: a DatumTask alone, or a DatumSet.
    """
    chosen: list[bytes] = []
    size = 0
    for data in datums:
        if chosen and size + len(data) > messages.MESSAGE_MAX_BYTES - len(_HEAD) - len(_TAIL):
            yield len(chosen), _message(chosen)
            chosen, size = [], 0
        chosen.append(data)
        size += len(data) + 1
    if chosen:
        yield len(chosen), _message(chosen)


def _message(chosen: Sequence[bytes]) -> bytes:
    return chosen[0] if len(chosen) == 1 else _HEAD + b",".join(chosen) + _TAIL


def _size(datum: Datum) -> float:
    """Return the bytes of a datum's files; infinite where they are too many to be named in a message."""
    if any(part.files is None for part in datum.parts):
        return math.inf
    return sum(file.size for part in datum.parts for file in part.files or ())


def _number(count: int, wanted: spec.DatumSets, workers: int) -> int:
    """Return how many datums a set has at most."""
    if wanted.per_worker:
        return max(1, math.ceil(count / (wanted.per_worker * max(1, workers))))
    if wanted.number:
        return wanted.number
    return count if wanted.size_bytes else 1
