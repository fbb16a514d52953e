"""What a command prints: cut into pieces for the log stream, bounded, with its last lines kept.

Bytes come in as the pipes give them; text goes out in whole lines where there are lines. A command
that prints without end costs a bounded number of messages, and is never made to wait.

What a line overwrites of itself by carriage returns, as progress bars do, is no output: only what a
terminal would show in the end is kept, so that an hour of it does not use up the limit. A line that
is not ended (a prompt, a bar) goes out as it stands after UNFINISHED_S, and the rest of it later.

Over the limit all is counted; of each stream the last lines come out at the end. Bytes that
are no UTF-8 become U+FFFD, one cut between two chunks does not.
"""

from typing import NamedTuple

PIECE_BYTES = 16 * 1024
TAIL_BYTES = 4 * 1024
LIMIT_BYTES = 1024 * 1024
LAST_BYTES = 16 * 1024
"""Of each stream, beyond the limit."""
UNFINISHED_S = 2.0
"""Seconds after which a line goes out that has no end."""

AGENT = "agent"
"""The stream of what Trunkline itself has to say."""


class Piece(NamedTuple):
    """Some text of one stream."""

    stream: str
    text: str


class _End:
    """The last bytes of many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self.size = 0
        """Of all."""

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self._kept += data[-self._most :]
        if len(self._kept) > 2 * self._most:
            del self._kept[: -self._most]

    def lines(self) -> bytes:
        """Return what is kept, from the beginning of a line on if there is one."""
        kept = bytes(self._kept[-self._most :])
        if len(kept) < self.size:
            line = kept.find(b"\n") + 1
            kept = kept[line:] if 0 < line < len(kept) else kept
        return kept


class Printed:
    """The output of one run of a command.

    Invariants: a piece is at most PIECE_BYTES of what was printed; all pieces of the command's
    streams together are the first `limit_bytes` of it and at most LAST_BYTES of the end of each, in order
    per stream, less what was overwritten; `size` counts all, `unkept` what is in none of them.
    """

    def __init__(self, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._left = limit_bytes
        self._limit = limit_bytes
        self._held: dict[str, bytearray] = {}
        self._since_s: dict[str, float] = {}
        """Since when a line is held that has no end."""
        self._over: dict[str, _End] = {}
        """What came over the limit."""
        self._tail = _End(TAIL_BYTES)
        self.size = 0
        """Bytes printed in all."""
        self.unkept = 0
        """Bytes that came over the limit, and have not come out at the end."""
        self.unkept_lines = 0
        """The ends of lines among these."""

    def take(self, stream: str, data: bytes) -> list[Piece]:
        """Take what was printed; return the pieces that are full by that."""
        self.size += len(data)
        self._tail.add(data)
        if self._over:
            self._pass_over(stream, data)
            return []
        kept = data[: self._left]
        held = self._held.setdefault(stream, bytearray())
        held += kept
        self._left -= len(kept) - _overwrite(held, len(held) - len(kept))
        pieces: list[Piece] = []
        while len(held) >= PIECE_BYTES:
            pieces.append(_cut(stream, held, _end(held)))
        if len(kept) < len(data):
            text = f"over {self._limit} bytes of output: of the rest, only the last lines are kept"
            pieces += [*self._all(), Piece(AGENT, text)]
            self._pass_over(stream, data[len(kept) :])
        return pieces

    def due(self, now_s: float) -> list[Piece]:
        """Return the whole lines that are held, and the beginning of one that is held for too long."""
        pieces: list[Piece] = []
        for stream, held in self._held.items():
            end = held.rfind(b"\n") + 1
            if end:
                pieces.append(_cut(stream, held, end))
                self._since_s.pop(stream, None)
            if not held:
                continue
            if now_s - self._since_s.setdefault(stream, now_s) >= UNFINISHED_S:
                del self._since_s[stream]
                pieces += self._unfinished(stream)
        return pieces

    def rest(self) -> list[Piece]:
        """Return all that is held, unfinished lines too, but no part of a character."""
        return [piece for stream in self._held for piece in self._unfinished(stream)]

    def end(self) -> list[Piece]:
        """Return all that is held; the command has ended."""
        pieces = self._all()
        ends = {stream: bytearray(each.lines()) for stream, each in self._over.items()}
        self._over.clear()
        self.unkept -= sum(len(each) for each in ends.values())
        self.unkept_lines -= sum(each.count(b"\n") for each in ends.values())
        if self.unkept:
            pieces.append(Piece(AGENT, f"{self.unkept} bytes of output were not kept"))
        return pieces + [_cut(stream, each, len(each)) for stream, each in ends.items() if each]

    @property
    def tail(self) -> str:
        """The last lines that were printed, at most TAIL_BYTES."""
        text = _shown(self._tail.lines()).decode("utf-8", "replace").replace("\r", "").strip("\n")
        return text.encode()[-TAIL_BYTES:].decode("utf-8", "ignore")

    def _unfinished(self, stream: str) -> list[Piece]:
        held = self._held[stream]
        end = len(held) - _begun(held, len(held))
        return [_cut(stream, held, end)] if end else []

    def _all(self) -> list[Piece]:
        return [_cut(stream, held, len(held)) for stream, held in self._held.items() if held]

    def _pass_over(self, stream: str, data: bytes) -> None:
        self.unkept += len(data)
        self.unkept_lines += data.count(b"\n")
        self._over.setdefault(stream, _End(LAST_BYTES)).add(data)


def _overwrite(held: bytearray, new: int) -> int:
    """Take out what lines with something new, from there on, have overwritten; return how much it was."""
    if held.find(b"\r", new) < 0 and held[new - 1 : new] != b"\r":
        return 0
    line, before = held.rfind(b"\n", 0, new) + 1, len(held)
    held[line:] = _shown(held[line:])
    return before - len(held)


def _shown(text: bytes | bytearray) -> bytes:
    """Return what a terminal shows of it in the end."""
    return b"\n".join([_last_shown(each) for each in text.split(b"\n")])


def _last_shown(line: bytes | bytearray) -> bytes | bytearray:
    """Return what stands in a line at last, behind a return: the beginning may have been sent before."""
    return line[max(0, line.rstrip(b"\r").rfind(b"\r")) :]


def _cut(stream: str, held: bytearray, end: int) -> Piece:
    text = held[:end].decode("utf-8", "replace")
    del held[:end]
    return Piece(stream, text)


def _end(held: bytearray) -> int:
    """Return where to cut: after the last line that fits, else between two characters."""
    line = held.rfind(b"\n", 0, PIECE_BYTES) + 1
    return line or PIECE_BYTES - _begun(held, PIECE_BYTES)


def _begun(held: bytearray, end: int) -> int:
    """Return how many bytes before `end` are of a character whose others come after it."""
    for count in range(1, min(3, end) + 1):
        byte = held[end - count]
        if byte & 0xC0 != 0x80:  # no byte within a character: its first one, or all of it
            length = 2 if 0xC0 <= byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if byte >= 0xC0 and count < length else 0
    return 0
