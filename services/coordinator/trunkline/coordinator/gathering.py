"""What has come in of one job, by the index of the datum, in a scratch file.

A job's outcomes come once, in whatever order, and are wanted once more at its end, by index. So they
go into a file as they come, and where each one lies is noted in an array: eight bytes of memory for a
datum, and nothing is read from the stream twice. It is a cache like all of the coordinator's memory:
the file has no name, is gone when the process is, and is made again from the stream.
"""

import asyncio
import contextlib
import os
import tempfile
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Self

BUFFER_BYTES = 128 * 1024
"""What is written at once."""
BATCH_BYTES, BATCH_ITEMS = 1024 * 1024, 2048
"""What is read at once, at most (but for one that is larger itself)."""
_SPARSE = 4
"""How many times as much as is wanted may be read so as to read it in one piece."""
_LENGTH_BITS = 28
"""A place is an offset and, in so many bits, a length: four times what a NATS message can have."""

Item = tuple[int, bytes]
"""An index, and the outcome as it is kept."""


class Gathered:
    """Kept outcomes by index. A context manager: it closes its file.

    Raises OSError, in any other method, when there is no room for the file.
    """

    def __init__(self, directory: Path | None) -> None:
        """Gather in that directory; None for the system's own place."""
        self._file = tempfile.TemporaryFile(dir=directory, buffering=BUFFER_BYTES)  # noqa: SIM115
        self._end = 0
        self._places = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; what there was no room to write is wanted no more."""
        with contextlib.suppress(OSError):
            self._file.close()

    def __contains__(self, index: int) -> bool:
        return index < len(self._places) and self._places[index] != 0

    def add(self, index: int, kept: bytes) -> None:
        """Take an outcome; it stands in for an earlier one of the same index."""
        places = self._places
        if index >= len(places):
            places.frombytes(bytes(8 * (index + BATCH_ITEMS - len(places))))
        self._file.write(kept)
        places[index] = self._end << _LENGTH_BITS | len(kept)
        self._end += len(kept)

    async def batches(self) -> AsyncIterator[Sequence[Item]]:
        """Yield all that is here by index, some at a time."""
        self._file.flush()
        for chosen in _portions(self._places):
            yield await asyncio.to_thread(_read, self._file.fileno(), chosen)


def _portions(places: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    chosen: list[tuple[int, int]] = []
    size = 0
    for index, place in enumerate(places):
        if place:
            chosen.append((index, place))
            size += _length(place)
            if size >= BATCH_BYTES or len(chosen) >= BATCH_ITEMS:
                yield chosen
                chosen, size = [], 0
    if chosen:
        yield chosen


def _read(file: int, chosen: Sequence[tuple[int, int]]) -> list[Item]:
    """Read what lies at these places: in one piece if they lie close together."""
    places = [place for _, place in chosen]
    first, last = min(places), max(places)
    low = first >> _LENGTH_BITS
    span = (last >> _LENGTH_BITS) + _length(last) - low
    if span > _SPARSE * sum(map(_length, places)):
        return [
            (index, os.pread(file, _length(place), place >> _LENGTH_BITS))
            for index, place in chosen
        ]
    piece = os.pread(file, span, low)
    return [
        (index, piece[(at := (place >> _LENGTH_BITS) - low) : at + _length(place)])
        for index, place in chosen
    ]


def _length(place: int) -> int:
    return place & ((1 << _LENGTH_BITS) - 1)
