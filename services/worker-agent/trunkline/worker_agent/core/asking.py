r"""Who asks for the next datum: the lines between a warm command and its worker.

A warm command stays up. Whatever it is made of, some process of it connects to the worker's socket,
sends a line, and reads lines up to an empty one:

    command                                 worker
    next                                    (the datum before this is done; the first: I am ready)
    next <text>                             (the datum before this has failed, says the text)
                                            datum <id>
                                            in <input>=<the path that its glob matched>     (for each)
                                            out <the directory for the output>
                                            env <variable>=<value>                          (for each)
                                        or  end               (there are no more: exit)
                                        or  error <text>      (what was asked makes no sense)

In values, a backslash is written as two of them, and a newline as `\n`.

    state     event                         what follows
    -------   ---------------------------   --------------------------------------------------------
    IDLE      next                          Ready                                        -> WAITING
    WAITING   give                          Answer: the datum                            -> BUSY
    BUSY      next, with a text or without  Finished                                     -> WAITING
    WAITING   end; any later next           Answer: end                                  -> IDLE
    WAITING   its connection closes         nothing: whoever asks next is Ready          -> IDLE
    BUSY      untaken: nothing was sent     nothing: it was never theirs                 -> IDLE
    BUSY      lost: not all was read        Finished, failed                             -> IDLE

Once an answer was read, connections mean nothing beyond that: each `next` may come on one of its own (`trunkline-next` in a
shell), or all on the same one. Who asks while somebody waits, who sends more before the answer, lines
without an end, and anything else that is not a request, is told so and cut off; the state and the
datum in hand stay as they are.

A crash of the command at any point closes its connections and is told by the shim: BUSY means that the
datum in hand has failed, everything else that no datum was harmed. A crash of the worker ends the
command with it.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple

LINE_MAX_BYTES = 16 * 1024
CONNECTIONS_MAX = 16

_SHOWN_BYTES = 60

END = b"end\n\n"
UNREAD = "the command lost its connection before it had read all about the datum"


class State(enum.Enum):
    """What the command is at."""

    IDLE = enum.auto()
    """Nobody waits, and it has no datum: it is starting, or between two requests."""
    WAITING = enum.auto()
    BUSY = enum.auto()


class Ready(NamedTuple):
    """Somebody waits for a datum."""


class Finished(NamedTuple):
    """The datum in hand is done; if there is a text, it has failed."""

    error: str | None


class Answer(NamedTuple):
    """Send this line."""

    connection: int
    line: bytes


class Refuse(NamedTuple):
    """Send this line, and close the connection."""

    connection: int
    line: bytes


Effect = Ready | Finished | Answer | Refuse


class Asking:
    """The state of one command, over all its connections.

    Invariants: at most one connection waits; a datum that was given is Finished at most once, and not
    before it was given; each connection has an unanswered request at most.
    """

    def __init__(self) -> None:
        self.state = State.IDLE
        self.asked = False
        """Whether it has ever asked."""
        self._ending = False
        self._waiting: int | None = None
        self._given: int | None = None
        """Which connection the datum in hand was handed to."""
        self._begun: dict[int, bytes] = {}
        """By connection, the part of a line that is here."""

    def connected(self, connection: int) -> list[Effect]:
        """Take a new connection into account."""
        if len(self._begun) >= CONNECTIONS_MAX:
            return [_refusal(connection, "too many connections")]
        self._begun[connection] = b""
        return []

    def received(self, connection: int, data: bytes) -> list[Effect]:
        """Take what a connection sent, however it is cut."""
        begun = self._begun.get(connection)
        if begun is None:
            return []
        if connection == self._waiting:
            return self._refused(connection, "more was sent before the answer to `next` was there")
        line, end, more = (begun + data).partition(b"\n")
        if len(line) > LINE_MAX_BYTES:
            return self._refused(connection, f"a line of more than {LINE_MAX_BYTES} bytes")
        if more:
            return self._refused(connection, "more was sent before the answer to the first line")
        self._begun[connection] = b"" if end else line
        return self._requested(connection, line.rstrip(b"\r")) if end else []

    def closed(self, connection: int) -> None:
        """Take the end of a connection into account."""
        self._begun.pop(connection, None)
        if connection == self._waiting:
            self._waiting = None
            self.state = State.IDLE

    def give(self, line: bytes) -> Answer:
        """Hand a datum to who waits; there must be somebody."""
        assert self._waiting is not None
        answer = Answer(self._waiting, line)
        self._given, self._waiting, self.state = self._waiting, None, State.BUSY
        return answer

    def untaken(self) -> None:
        """Take back what was given: nothing of it could be sent."""
        self.state = State.IDLE

    def lost(self, connection: int) -> list[Effect]:
        """Take into account that a connection closes before it has read its answer."""
        self.closed(connection)
        if self.state is not State.BUSY or connection != self._given:
            return []
        self.state = State.IDLE
        return [Finished(UNREAD)]

    def end(self) -> list[Effect]:
        """Let there be no more datums."""
        self._ending = True
        return self._ended()

    def _requested(self, connection: int, line: bytes) -> list[Effect]:
        word, _, rest = line.partition(b" ")
        text = rest.decode("utf-8", "replace").strip()
        if word != b"next":
            shown = line[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
            return self._refused(connection, f"no request of this name: {shown!r}; there is `next`")
        if self._waiting is not None:
            return self._refused(connection, "another connection waits for the next datum already")
        if text and self.state is not State.BUSY:
            return self._refused(connection, "no datum is in hand that could have failed")
        finished = self.state is State.BUSY
        self.asked = True
        self._waiting, self.state = connection, State.WAITING
        return [Finished(text or None) if finished else Ready(), *self._ended()]

    def _ended(self) -> list[Effect]:
        if not self._ending or self._waiting is None:
            return []
        answer = Answer(self._waiting, END)
        self._waiting, self.state = None, State.IDLE
        return [answer]

    def _refused(self, connection: int, text: str) -> list[Effect]:
        self.closed(connection)
        return [_refusal(connection, text)]


def _refusal(connection: int, text: str) -> Refuse:
    return Refuse(connection, f"error {text}\n\n".encode())


def datum(identifier: str, inputs: Mapping[str, str], out: str, env: Mapping[str, str]) -> bytes:
    """Return the lines that hand over a datum."""
    lines = [
        f"datum {identifier}",
        *[f"in {name}={_value(path)}" for name, path in inputs.items()],
        f"out {_value(out)}",
        *[f"env {name}={_value(text)}" for name, text in env.items()],
    ]
    return "\n".join([*lines, "\n"]).encode("utf-8", "surrogateescape")


def _value(text: str) -> str:
    if "\\" in text or "\n" in text:
        return text.replace("\\", "\\\\").replace("\n", "\\n")
    return text
