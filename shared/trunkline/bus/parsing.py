"""What the server sends, cut into messages and control lines, without a task switch for a message.

nats-py's parser matches each line against every form that it may have, and awaits something for
each message. Ours looks at the first word, and hands messages to plain functions. It stands in the
client's place for it: `parse` is called with what was read, `reset` when the connection is lost,
which may be while `parse` waits for a control line to be dealt with: what is left then is dropped.
"""

from collections.abc import Awaitable, Callable

from trunkline.bus.nats_py import ProtocolError, parser

LINE_MAX_BYTES = 1 << 16
"""Far above the longest line that a server sends: most have 4 KB at most, INFO some more."""

Take = Callable[[int, bytes, bytes, bytes, bytes | None], Awaitable[None] | None]
"""Takes a subscription's number, subject, reply, data and header block of a message."""
Control = Callable[[bytes, bytes], Awaitable[None]]
"""Takes the first word of any other line, and the rest of it."""


class Parser(parser.Parser):
    """One connection's."""

    def __init__(self, take: Take, control: Control) -> None:
        """Make it.

        Args:
            take: Called for each message; what it returns, if anything, is awaited.
            control: Called for each other line, and awaited.
        """
        self._take, self._control = take, control
        self._resets = 0
        self._parts: list[bytes] = []
        self._have = self._need = 0
        """Bytes in `_parts`, and how many there must be for it to be worth to look again."""

    def reset(self) -> None:
        """Forget what is incomplete."""
        self._resets += 1
        self._parts.clear()
        self._have = self._need = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read.

        Raises:
            ProtocolError: no NATS server says that.
        """
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return
        if len(self._parts) > 1:
            data = b"".join(self._parts)
        self._parts.clear()
        resets = self._resets
        try:
            done, need = await self._all(data)
        except (ValueError, IndexError):
            raise ProtocolError from None
        if resets == self._resets:
            rest = data[done:]
            self._parts = [rest] if rest else []
            self._have, self._need = len(rest), need

    async def _all(self, data: bytes) -> tuple[int, int]:
        """Hand over all that is whole; return where that ends, and how much the next one needs."""
        resets, at, end, take = self._resets, 0, len(data), self._take
        while True:
            eol = data.find(b"\r\n", at)
            if eol < 0:
                if end - at > LINE_MAX_BYTES:
                    raise ProtocolError
                return at, 0
            words = data[at:eol].split()
            body, verb = eol + 2, words[0]
            if verb == b"MSG":
                after = body + int(words[-1]) + 2
                if after > end:
                    return at, after - at
                reply = words[3] if len(words) == 5 else b""
                waits = take(int(words[2]), words[1], reply, data[body : after - 2], None)
            elif verb == b"HMSG":
                after, headed = body + int(words[-1]) + 2, body + int(words[-2])
                if after > end:
                    return at, after - at
                reply = words[3] if len(words) == 6 else b""
                waits = take(
                    int(words[2]), words[1], reply, data[headed : after - 2], data[body:headed]
                )
            else:
                after = body
                waits = self._control(verb.upper(), data[at + len(verb) : eol].strip())
            at = after
            if waits is not None:
                await waits
                if resets != self._resets:
                    return end, 0
