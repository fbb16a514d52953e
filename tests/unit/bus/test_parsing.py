"""What a server sends, however it is cut into reads."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from trunkline.bus.parsing import LINE_MAX_BYTES, Parser

Seen = list[tuple[object, ...]]


class Heard:
    """A parser, and what it has handed over."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.parser = Parser(self._take, self._control)
        self.lost_at = b""
        """The control line during which the connection is lost."""

    def _take(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.seen.append((sid, subject, reply, data, headers))

    async def _control(self, verb: bytes, rest: bytes) -> None:
        self.seen.append((verb, rest))
        if verb == self.lost_at:
            self.parser.reset()

    def reads(self, parts: Sequence[bytes]) -> Seen:
        async def run() -> None:
            for part in parts:
                await self.parser.parse(part)

        asyncio.run(run())
        return self.seen


SAID = (
    b'INFO {"max_payload": 1}\r\n'
    b"PING\r\n"
    b"MSG a.b 7 5\r\nMSG a\r\n"
    b"MSG a.b 7 re.ply 2\r\n\r\n\r\n"
    b"MSG a.b 12  0\r\n\r\n"
    b"-ERR 'Permissions Violation for Publish to \"x y\"'\r\n"
    b"HMSG h 8 12 15\r\nNATS/1.0\r\n\r\nabc\r\n"
    b"HMSG h 8 re.ply 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
    b"pong\r\n"
)
HEARD: Seen = [
    (b"INFO", b'{"max_payload": 1}'),
    (b"PING", b""),
    (7, b"a.b", b"", b"MSG a", None),
    (7, b"a.b", b"re.ply", b"\r\n", None),
    (12, b"a.b", b"", b"", None),
    (b"-ERR", b"'Permissions Violation for Publish to \"x y\"'"),
    (8, b"h", b"", b"abc", b"NATS/1.0\r\n\r\n"),
    (8, b"h", b"re.ply", b"", b"NATS/1.0 503\r\n\r\n"),
    (b"PONG", b""),
]


@given(st.lists(st.integers(0, len(SAID))))
def test_the_same_is_heard_however_it_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(SAID)]
    parts = [SAID[first:last] for first, last in itertools.pairwise(places)]
    assert Heard().reads(parts) == HEARD


def test_it_is_heard_byte_by_byte() -> None:
    assert Heard().reads([SAID[at : at + 1] for at in range(len(SAID))]) == HEARD


def test_a_large_message_comes_in_many_reads() -> None:
    data = bytes(1 << 20)
    said = b"MSG a 1 %d\r\n%b\r\nPING\r\n" % (len(data), data)
    parts = [said[at : at + 1000] for at in range(0, len(said), 1000)]
    assert Heard().reads(parts) == [(1, b"a", b"", data, None), (b"PING", b"")]


def test_what_is_left_of_a_lost_connection_is_dropped() -> None:
    heard = Heard()
    heard.lost_at = b"-ERR"
    assert heard.reads([b"PING\r\n-ERR 'x'\r\nMSG a 1 1\r\nx\r\nMSG b"]) == [
        (b"PING", b""),
        (b"-ERR", b"'x'"),
    ]
    heard.parser.reset()
    assert heard.reads([b"PONG\r\n"])[2:] == [(b"PONG", b"")]


@pytest.mark.parametrize(
    "said", [b"\r\n", b"MSG a 1 x\r\n", b"MSG a\r\n", b"HMSG a b 1 1\r\nx\r\n", b"x" * 70_000]
)
def test_what_no_server_says_is_an_error(said: bytes) -> None:
    assert len(said) < 2 * LINE_MAX_BYTES
    with pytest.raises(ProtocolError):
        Heard().reads([said])
