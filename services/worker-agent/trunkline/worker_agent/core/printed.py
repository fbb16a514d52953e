"""What a command prints: cut into pieces for the log stream, bounded, with its last lines kept.

Bytes come in as the pipes give them; text goes out in whole lines where there are lines. A command
that prints without end costs a bounded number of messages, and is never made to wait.
"""

from typing import NamedTuple

PIECE_BYTES = 16 * 1024
TAIL_BYTES = 4 * 1024
LIMIT_BYTES = 1024 * 1024

AGENT = "agent"
"""The stream of what Trunkline itself has to say."""


class Piece(NamedTuple):
    """Some text of one stream."""

    stream: str
    text: str


class Printed:
    """The output of one run of a command.

    Invariants: a piece is at most PIECE_BYTES of what was printed; all pieces of the command's
    streams together are the first `limit_bytes` of it, in order per stream; `size` counts all.
    """

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._left = limit_bytes
        self._limit = limit_bytes
        self._held: dict[str, bytearray] = {}
        self._tail = bytearray()
        self.size = 0
        """Bytes printed in all."""

    def take(self, stream: str, data: bytes) -> list[Piece]:
        """Take what was printed; return the pieces that are full by that."""
        self.size += len(data)
        self._tail += data[-TAIL_BYTES:]
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]
        if self._left == 0:
            return []
        kept = data[: self._left]
        self._left -= len(kept)
        held = self._held.setdefault(stream, bytearray())
        held += kept
        pieces: list[Piece] = []
        while len(held) >= PIECE_BYTES:
            pieces.append(_cut(stream, held, _end(held, PIECE_BYTES)))
        if len(kept) < len(data):
            text = f"over {self._limit} bytes of output: the rest is counted, but not kept"
            pieces += [*self.rest(), Piece(AGENT, text)]
        return pieces

    def due(self) -> list[Piece]:
        """Return the whole lines that are held; called after some time."""
        pieces: list[Piece] = []
        for stream, held in self._held.items():
            end = held.rfind(b"\n") + 1
            if end:
                pieces.append(_cut(stream, held, end))
        return pieces

    def end(self) -> list[Piece]:
        """Return all that is held; the command has ended."""
        pieces = self.rest()
        if self.size > self._limit:
            pieces.append(Piece(AGENT, f"{self.size - self._limit} bytes of output were not kept"))
        return pieces

    @property
    def tail(self) -> str:
        """The last lines that were printed, at most TAIL_BYTES."""
        kept = bytes(self._tail[-TAIL_BYTES:])
        if len(kept) < self.size:
            line = kept.find(b"\n") + 1
            kept = kept[line:] if 0 < line < len(kept) else kept
        text = kept.decode("utf-8", "replace").strip("\n")
        return text.encode()[-TAIL_BYTES:].decode("utf-8", "ignore")

    def rest(self) -> list[Piece]:
        """Return all that is held, an unfinished line too."""
        return [_cut(stream, held, len(held)) for stream, held in self._held.items() if held]


def _cut(stream: str, held: bytearray, end: int) -> Piece:
    text = held[:end].decode("utf-8", "replace")
    del held[:end]
    return Piece(stream, text)


def _end(held: bytearray, most: int) -> int:
    """Return where to cut: after the last line that fits, else between two characters."""
    line = held.rfind(b"\n", 0, most) + 1
    if line:
        return line
    end = most
    while end > most - 4 and end < len(held) and held[end] & 0xC0 == 0x80:
        end -= 1
    return end
